"""What one ORO step costs on the embedded model: `python tests/bench_oro.py [--steps 10] [--batch 2] [--rounds 3]`.

Peak memory beyond that of the same step without gradients, and seconds, of forward and backward through the last K
sampling steps, the decoder and the segmentation reward; with and without checkpointing. See `cost.step_cost`.
"""

import argparse

from pisa_kit.cost import step_cost
from pisa_kit.presets import Training, Tuning


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10, help="sampling steps")
    parser.add_argument("--batch", type=int, default=2, help="clips")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{options.steps} sampling steps, {options.batch} clips")
    print("| K | checkpointing | peak MiB | s per step |")
    print("|---|---|---|---|")
    training = Training(steps=1, batch=options.batch, learning_rate=1e-4)
    for checkpoint in (False, True):
        for through in dict.fromkeys((1, 2, 4, options.steps)):
            settings = Tuning(training, {"seg": 1.0}, options.steps, through, checkpoint=checkpoint)
            row = step_cost(settings, rounds=options.rounds)
            again = "yes" if checkpoint else "no"
            print(f"| {through} | {again} | {row['mib']:.0f} | {row['seconds']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
