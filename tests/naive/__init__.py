"""The slow obvious version of every algorithm; numpy and the standard library only, nothing of ours."""
