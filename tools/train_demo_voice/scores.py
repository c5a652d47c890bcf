"""Scores to sing: random melodies with nonsense lyrics, as MusicXML."""

from __future__ import annotations

from xml.sax.saxutils import escape

import numpy as np

from tools.train_demo_voice.contours import SCALES

MORAE = (
    *"あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわ",
    *"がぎぐげござじずぜぞだでどばびぶべぼぱぴぷぺぽ",
    *("きゃ", "しゅ", "ちょ", "りょ", "ん"),
)
"""Syllables of the lyrics, which mean nothing."""

SEMITONES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
DIVISIONS = 4
"""Shortest unit: sixteenth notes, four in a quarter note."""

LOWEST_MIDI, HIGHEST_MIDI = 55, 77
"""Compass of the melodies (G3 to F5): what the singer's recordings cover."""


def make_score(seed: int, measures: int = 8) -> str:
    """Draw a melody with nonsense lyrics.

    Args:
        seed: the same seed gives the same score.
        measures: bars of four quarter notes.

    Returns:
        MusicXML (partwise).

    """
    random = np.random.default_rng(seed)
    tonic = int(random.integers(LOWEST_MIDI + 2, LOWEST_MIDI + 12))
    scale = SCALES[int(random.integers(len(SCALES)))]
    tempo = int(random.integers(70, 150))
    degree = int(random.integers(0, 7))
    bars = []
    for number in range(1, measures + 1):
        notes: list[str] = []
        left = 4 * DIVISIONS
        while left:
            length = min(left, int(random.choice((1, 2, 2, 3, 4, 4, 6, 8))))
            left -= length
            rest = random.random() < 0.08 or (number in (1, measures) and not notes)
            degree = int(np.clip(degree + random.integers(-3, 4), -3, 9))
            octave, step = divmod(degree, len(scale))
            midi = int(np.clip(tonic + 12 * octave + scale[step], LOWEST_MIDI, HIGHEST_MIDI))
            notes.append(_rest(length) if rest else _note(midi, length, MORAE[int(random.integers(len(MORAE)))]))
        bars.append(f'<measure number="{number}">{_attributes(tempo) if number == 1 else ""}{"".join(notes)}</measure>')
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 2.0 Partwise//EN" '
        '"http://www.musicxml.org/dtds/partwise.dtd">'
        '<score-partwise version="2.0"><part-list><score-part id="P1"><part-name>voice</part-name></score-part>'
        f'</part-list><part id="P1">{"".join(bars)}</part></score-partwise>'
    )


def _attributes(tempo: int) -> str:
    return (
        f"<attributes><divisions>{DIVISIONS}</divisions><key><fifths>0</fifths></key>"
        "<time><beats>4</beats><beat-type>4</beat-type></time><clef><sign>G</sign><line>2</line></clef></attributes>"
        f'<direction><sound tempo="{tempo}"/></direction>'
    )


def _rest(length: int) -> str:
    return f"<note><rest/><duration>{length}</duration><voice>1</voice></note>"


def _note(midi: int, length: int, syllable: str) -> str:
    octave, semitone = divmod(midi, 12)
    step, sharp = SEMITONES[semitone][0], SEMITONES[semitone][1:]
    alter = "<alter>1</alter>" if sharp else ""
    return (
        f"<note><pitch><step>{step}</step>{alter}<octave>{octave - 1}</octave></pitch>"
        f"<duration>{length}</duration><voice>1</voice>"
        f"<lyric><syllabic>single</syllabic><text>{escape(syllable)}</text></lyric></note>"
    )
