"""`python -m pisa_kit.cli`, which torchrun and accelerate launch need."""

from pisa_kit.cli import main

main()
