"""Measurements that come with the package: files of `amper calibrate-gpu`, read by `hwsim.measurement`."""
