"""One file per ecosystem: stable-baselines3, torchrl, tianshou; needs the extra `adapters`."""
