"""When the clock is set: how old a message really is. Pure; wall clock and monotonic time come in as arguments.

A message carries the time of its arrival by the clock of then. When the clock is set forward by an hour, the message
has not waited an hour longer: what arrived before is not to be returned, or warned of, an hour early. What is known of
this ends with the process: a queue manager that starts believes the clock.
"""

# Less than this is a clock that is being adjusted, not one that was set, seconds.
_LEAST = 30.0
# So many settings are remembered; a clock that is set more often is believed.
_MOST = 16


class Clock:
    def __init__(self, wall: float, monotonic: float) -> None:
        self._offset = wall - monotonic
        self._settings: list[tuple[float, float]] = []
        """(what the clock showed at last that is on both sides of the setting, seconds forward)"""

    def look(self, wall: float, monotonic: float) -> float:
        """By how many seconds the clock was set forward since the last look; negative: back; 0: it was not."""
        forward = wall - monotonic - self._offset
        # Also where it was not set: what an adjustment makes in days is no setting.
        self._offset += forward
        if abs(forward) < _LEAST:
            return 0.0
        self._settings = [*self._settings[1 - _MOST :], (min(wall, wall - forward), forward)]
        return forward

    def arrival(self, time: float) -> float:
        """When a message arrived, by the clock of now, that says it arrived at ``time``."""
        for until, forward in self._settings:
            if time <= until:
                time += forward
        return time
