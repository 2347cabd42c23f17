"""How a clip's caption becomes a model's prompt; the template is part of the protocol, because it changes the video."""

from dataclasses import replace

from pisa_kit.clips.clip import Clip
from pisa_kit.core.errors import InputError

TEMPLATES = {
    "plain": "{caption}",  # "A white bottle falls.", as the paper's evaluation
    "static": "{caption} Static camera on a tripod, one continuous shot, real-time speed. No zoom, no cut.",
}


def template(name: str) -> str:
    """The text of a template.

    Args:
        name: in `TEMPLATES`, or a text in which {caption} stands once.

    Raises:
        InputError: neither.
    """
    text = TEMPLATES.get(name, name)
    if text.count("{caption}") != 1 or any(mark in text.replace("{caption}", "") for mark in "{}"):
        remedy = f"Name one of {', '.join(TEMPLATES)}, or write a text with {{caption}} in it."
        raise InputError("arguments", "template", f"is {name!r}", remedy)
    return text


def worded(clips: list[Clip], text: str) -> list[Clip]:
    """The clips with captions put into a template."""
    return [replace(clip, caption=text.replace("{caption}", clip.caption)) for clip in clips]
