"""What one ORO step costs on the embedded model: `python tests/bench_oro.py [--steps 10] [--batch 2] [--rounds 3]`.

The most memory that its tensors hold at once, and seconds, of forward and backward through the last K sampling steps,
the decoder and the segmentation reward, for what is computed again: nothing, views, all (see
`presets.Tuning.checkpoint`). The last column is the memory as a share of the full chain's.
"""

import argparse

from pisa_kit.study.cost import step_cost
from pisa_kit.training.settings import OroSettings, Training


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10, help="sampling steps")
    parser.add_argument("--batch", type=int, default=2, help="clips")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{options.steps} sampling steps, {options.batch} clips")
    print("| computed again | K | peak MiB | s per step | of the full chain |")
    print("|---|---|---|---|---|")
    training = Training(steps=1, batch=options.batch, learning_rate=1e-4)
    for checkpoint in ("nothing", "views", "all"):
        whole = None
        for through in dict.fromkeys((options.steps, 4, 2, 1)):
            settings = OroSettings(training, {"seg": 1.0}, options.steps, through, gradient_checkpointing=checkpoint)
            row = step_cost(settings, rounds=options.rounds)
            whole = whole or row["mib"]
            cells = f"{row['mib']:.0f} | {row['seconds']:.2f} | {row['mib'] / whole:.0%}"
            print(f"| {checkpoint} | {through} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
