"""Run the calibration's fused tree in numba's CUDA simulator, on tensors in main memory; needs PyTorch.

Run with NUMBA_ENABLE_CUDASIM=1 set before numba is imported, so in a process of its own.
"""

import json
import time


class WallClock:
    """The clock's face without a GPU."""

    device = "cpu"

    def synchronise(self):
        """Nothing is under way."""

    def between_us(self, enqueue, busy_us=0.0):
        """Return the wall time of a call."""
        del busy_us
        begin = time.perf_counter()
        enqueue()
        return (time.perf_counter() - begin) * 1e6


def main():
    from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

    from hwsim import calibrate, calibrate_clock, calibrate_floors
    from hwsim._kernels import cuda_sumtree as kernels

    kernels.device_array = lambda tensor: FakeCUDAArray(tensor.numpy())
    kernels.UPDATE_BLOCK = 32
    calibrate._MAX_RUN, calibrate_floors._CALLS, calibrate_floors._CHASED = 2, 2, 3
    for module in (calibrate, calibrate_clock, calibrate_floors):
        module.N_RUNS = module.N_WARM = 1
    print(json.dumps(calibrate.measure((5, 30), (1, 4), 2, clock=WallClock())))


if __name__ == "__main__":
    main()
