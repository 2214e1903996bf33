"""A toy that scores reports, for image information."""

from __future__ import annotations

from toy import Toy

from baselines.likelihood import TeacherForced


class ReadingToy(TeacherForced, Toy):
    pass
