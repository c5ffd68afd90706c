"""The margin m(rating) of the ranking loss: how far apart two answers should score, given how much better one is.

Section 3.2.2 and Table 27 of the paper. A large margin helps on clearly separable pairs and can hurt the others, so it
is a choice.
"""

from typing import Literal

Margin = Literal["none", "small", "large"]

MARGINS: dict[Margin, dict[str, float]] = {
    "none": {"significantly_better": 0.0, "better": 0.0, "slightly_better": 0.0, "negligibly_better": 0.0},
    "small": {"significantly_better": 1.0, "better": 2 / 3, "slightly_better": 1 / 3, "negligibly_better": 0.0},
    "large": {"significantly_better": 3.0, "better": 2.0, "slightly_better": 1.0, "negligibly_better": 0.0},
}


def margin(rating: str | None, choice: Margin) -> float:
    """Return m(rating) in units of the score; with the choice "none" it is 0 and no rating is needed."""
    return 0.0 if choice == "none" else MARGINS[choice][rating or "unrated"]
