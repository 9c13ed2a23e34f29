"""Eight pairs that any model can learn from."""

from __future__ import annotations

PAIRS = [
    {"prompt": "What is two plus two?", "chosen": "Four.", "rejected": "It could be many things, who knows."},
    {"prompt": "Name a primary colour.", "chosen": "Red is one.", "rejected": "Colours are lovely, are they not?"},
    {"prompt": "Is the sun a star?", "chosen": "Yes, it is a star.", "rejected": "No."},
    {
        "prompt": "Where do penguins live?",
        "chosen": "In the south.",
        "rejected": "Up at the North Pole with the bears.",
    },
    {"prompt": "How many legs has a spider?", "chosen": "Eight.", "rejected": "Six legs, like every insect has."},
    {"prompt": "What melts at zero degrees?", "chosen": "Ice does.", "rejected": "Rocks and such."},
    {"prompt": "Which month follows May?", "chosen": "June.", "rejected": "After May comes July, I think."},
    {"prompt": "Say hello in French.", "chosen": "Bonjour.", "rejected": "Hola!"},
]
