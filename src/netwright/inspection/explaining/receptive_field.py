"""The receptive field by its recurrence."""

from __future__ import annotations

from netwright.inspection.explaining.structure import Explanation, Step, text

Field = tuple[float, float, float]  # size, stride between neighbours, centre of the first one, in pixels


def step(field: Field, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Field:
    """The field after one more layer, along one axis; ``padding`` is that before the first pixel."""
    size, jump, centre = field
    return (
        size + dilation * (kernel - 1) * jump,
        jump * stride,
        centre + (dilation * (kernel - 1) / 2 - padding) * jump,
    )


LAYERS = (("conv 3×3", 3, 1, 1), ("pool 2×2, stride 2", 2, 2, 0), ("conv 3×3", 3, 1, 1))


def explanation() -> Explanation:
    field: Field = (1, 1, 0)
    steps = []
    for name, kernel, stride, padding in LAYERS:
        size, jump, centre = field
        field = step(field, kernel, stride, padding)
        steps.append(
            Step(
                title=name,
                formula="r' = r + d(k − 1)·j,  j' = j·s,  c' = c + (d(k − 1)/2 − p)·j",
                substituted=f"r' = {text(size)} + 1·({kernel} − 1)·{text(jump)},  j' = {text(jump)}·{stride},  "
                f"c' = {text(centre)} + ({(kernel - 1) / 2:g} − {padding})·{text(jump)}",
                result=f"r = {text(field[0])}, j = {text(field[1])}, c = {text(field[2])}",
            )
        )
    stacked = step(step((1, 1, 0), 3), 3)
    return Explanation(
        subject="receptive-field",
        summary="How many pixels an output sees (r), how far apart neighbours look (j), where the first looks (c).",
        steps=(
            Step(title="input", formula="a pixel sees itself", substituted="", result="r = 1, j = 1, c = 0"),
            *steps,
            Step(
                title="two 3×3 see what one 5×5 sees",
                formula="1 + 2 + 2 = 1 + 4",
                substituted="parameters for C → C channels: 2·9·C² against 25·C²",
                result=f"r = {stacked[0]}, at 18/25 = 0.72 of the parameters",
            ),
        ),
        source="Araujo, Norris and Sim 2019, Computing Receptive Fields of Convolutional Neural Networks, "
        "equations 2 and 3; Simonyan and Zisserman 2015, section 2.3",
        numbers={"size": field[0], "stride": field[1], "centre": field[2]},
    )
