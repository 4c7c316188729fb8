"""What the headers of scans leave to guess, for people who train on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diffcl.data.cases import in_words


def guess_remarks(guesses: Mapping[str, Sequence[str]]) -> list[str]:
    """A sentence for each guess.

    >>> guess_remarks({"p1": ["the header states no voxel size; 1 mm is a guess"], "p2": []})
    ['p1: the header states no voxel size; 1 mm is a guess. Save it with what its scanner says.']

    Args:
        guesses: Of each scan by its name, see `Scan.guesses`.
    """
    every = dict.fromkeys(guess for found in guesses.values() for guess in found)
    told = []
    for guess in every:
        names = [name for name, found in guesses.items() if guess in found]
        them = "it with what its scanner says" if len(names) == 1 else "them with what their scanner says"
        told.append(f"{in_words(names)}: {guess}. Save {them}.")
    return told
