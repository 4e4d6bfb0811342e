"""How programs come to be: new ones of habits and any calls, and old ones changed."""

from tests.fuzz.calls import UNPRIVILEGED, Calls, hypercalls
from tests.fuzz.habits import GOOD_HABITS, HABITS
from tests.fuzz.program import CALL, RACE, READ, REGISTER, TIME, WRITE, action, changed, parts
from tests.fuzz.runner import NR_RACE_STOPS
from tests.fuzz.values import MASK, Draw

MOST_ACTIONS = 160
FIRST_LENGTH = 60
DOMAIN_0 = 0
RACE_SHARE = 30  # percent of changed programs that get one
GOOD_SHARE = 12  # percent of what is new: a well-meaning domain 0's


class Maker:
    """Makes programs for a world; `hostile` are the actors that do anything at all."""

    def __init__(self, random, world, is_toolstack_hostile=False):
        self.draw = Draw(random, world)
        self.calls = Calls(self.draw)
        self.random, self.world = random, world
        self.is_toolstack_hostile = is_toolstack_hostile
        first = DOMAIN_0 if is_toolstack_hostile else DOMAIN_0 + 1
        self.hostile = list(range(first, len(world.actors)))
        self.numbers = list(hypercalls) if is_toolstack_hostile else UNPRIVILEGED
        self.ways = [
            *(self.insert, self.insert, self.remove, self.repeat, self.swap, self.tweak),
            *(self.tweak, self.tweak, self.redraw),
        ]

    def piece(self):
        """A few new actions of one actor."""
        draw = self.draw
        if not self.is_toolstack_hostile and draw.chance(GOOD_SHARE):
            return draw.pick(GOOD_HABITS)(draw, DOMAIN_0)
        actor = draw.pick(self.hostile)
        if draw.chance(12):
            return self.race()
        if draw.chance(60):
            return draw.pick(HABITS)(draw, actor)
        return [self.calls.any(actor, self.numbers)]

    def race(self):
        """Some actions to be done at the same time, on the same frame most often, and what their
        actors do before.
        """
        draw, before, racers = self.draw, [], []
        draw.focus = draw.pick(self.world.guests), draw.pick((9, 10, 18, 19, 20, 21, 16, 17))
        guest = draw.focus[0]
        actors = [a for a in self.hostile if draw.guest(a) is guest or draw.chance(40)]
        self.random.shuffle(actors)
        for actor in actors[: 2 + draw.below(2)]:
            *first, last = draw.pick(HABITS)(draw, actor)
            before += first
            racers.append(last)
        draw.focus = None
        args = [self.stop() for _ in range(NR_RACE_STOPS)]
        args += [draw.below(3)]
        head = action(RACE, self.hostile[0], len(racers), args, choices=draw.choices())
        return [*before, head, *racers]

    def stop(self):
        """Where a racer stops for another: before an access that it may come to."""
        draw = self.draw
        if draw.chance(30):
            return 0
        at = 1 + int(2 ** (draw.random.random() * 9))
        return at | draw.below(3) << 16 | draw.below(3) << 24

    def program(self):
        """A new program."""
        made = []
        while len(made) < FIRST_LENGTH:
            made += self.piece()
        return made

    def mutant(self, program, other):
        """A changed copy of a program, perhaps with the end of another."""
        program = list(program)
        if self.draw.chance(15):
            at, start = self.draw.below(len(program) + 1), self.draw.below(len(other) + 1)
            program = program[:at] + other[start:]
        while True:
            self.random.choice(self.ways)(program)
            if self.draw.chance(40):
                break
        if self.draw.chance(RACE_SHARE):
            at = self.draw.below(len(program) + 1)
            program[at:at] = self.race()
        del program[MOST_ACTIONS:]
        return program or self.program()

    def insert(self, program):
        at = self.draw.below(len(program) + 1)
        program[at:at] = self.piece()

    def remove(self, program):
        at = self.draw.below(len(program) + 1)
        del program[at : at + 1 + self.draw.below(4)]

    def repeat(self, program):
        if program:
            copy = self.random.choice(program)
            program.insert(self.draw.below(len(program) + 1), copy)

    def swap(self, program):
        if program:
            i, j = self.draw.below(len(program)), self.draw.below(len(program))
            program[i], program[j] = program[j], program[i]

    def chosen(self, program):
        """Choose an action that may become anything, by its place; -1 if there is none."""
        for _ in range(4):
            at = self.draw.below(len(program)) if program else -1
            if at >= 0 and int.from_bytes(program[at][8:12], "little") in self.hostile:
                return at
        return -1

    def redraw(self, program):
        """Draw the arguments of a call anew."""
        at = self.chosen(program)
        if at >= 0:
            old = parts(program[at])
            if old.kind == CALL:
                program[at] = self.calls.make(old.actor, old.number)

    def tweak(self, program):
        """Change one part of an action."""
        at = self.chosen(program)
        if at < 0:
            return
        old, draw = parts(program[at]), self.draw
        kind = draw.below(10)
        if old.data and kind < 5:
            program[at] = changed(program[at], data=self.changed_data(old))
        elif kind < 7 and old.kind != TIME:
            number = draw.below(5 if old.kind in (CALL, RACE) else 1)
            args = list(old.args)
            args[number] = self.changed_value(args[number], old.actor)
            if old.kind == RACE:
                args[number] = self.stop()
            if old.kind in (CALL, READ, REGISTER, RACE):
                program[at] = changed(program[at], args=args)
        elif kind == 7 and old.kind == CALL:
            program[at] = changed(program[at], choices=draw.random.getrandbits(64))
        elif kind == 8:
            program[at] = changed(program[at], actor=draw.pick(self.hostile))
        elif old.kind in (WRITE, CALL) and old.data:
            where = (
                draw.place(len(old.data), old.actor) if old.kind == CALL else draw.data_address()
            )
            program[at] = changed(program[at], at=where)

    def changed_value(self, value, actor):
        """A number near another, or any."""
        draw = self.draw
        kind = draw.below(8)
        if kind < 2:
            return value ^ 1 << draw.below(64)
        if kind == 2:
            return value + draw.pick((1, -1, 8, -8, 4096, -4096))
        if kind == 3:
            return value | 1 << 31
        if kind == 4:
            return draw.pick((draw.frame, draw.entry, draw.slot))(actor)
        return draw.number()

    def changed_data(self, old):
        """Data with one field changed."""
        data, size = bytearray(old.data), self.random.choice((1, 2, 4, 4, 8, 8, 8))
        if len(data) < size:
            return bytes(data)
        at = self.draw.below(len(data) // size) * size
        before = int.from_bytes(data[at : at + size], "little")
        value = self.changed_value(before, old.actor) & MASK[size]
        data[at : at + size] = value.to_bytes(size, "little")
        return bytes(data)
