"""The scripts name keys as Python does."""

from importlib.resources import files
from inspect import signature

from qrsocket.keys import Keys
from qrsocket.roundtrip import Script, script_call
from tests.conftest import RoundTrip

WORD = "u:élise:{x}"
IN_PYTHON_ONLY = {"probe", "trail"}
INCLUDED = ("base.lua", "keys.lua", "jobs/keys.lua")


def names_in_python(keys: Keys) -> dict[str, str]:
    members = {name: getattr(keys, name) for name in vars(Keys) if name[0] != "_" and name != "base"}
    return {
        name: member(*[WORD] * len(signature(member).parameters)) if callable(member) else member
        for name, member in members.items()
        if name not in IN_PYTHON_ONLY
    }


async def test_names_in_scripts_are_those_of_python(keys: Keys, roundtrip: RoundTrip) -> None:
    """
    Each name of keys.py is made by keys.lua, or jobs/keys.lua, too, to the byte.
    """
    expected = names_in_python(keys)
    prelude = "\n".join(files("qrsocket").joinpath(name).read_text() for name in INCLUDED)
    answers = ", ".join(f"type({name}) == 'function' and {name}(ARGV[1], ARGV[1]) or {name}" for name in expected)
    script = Script(f"#!lua\n{prelude}\nreturn {{{answers}}}")

    names = await roundtrip(script_call(script, [keys.base], [WORD], lambda reply: [word.decode() for word in reply]))

    assert expected == dict(zip(expected, names, strict=True))


async def test_the_clock_of_scripts_is_redis_time(keys: Keys, roundtrip: RoundTrip) -> None:
    """
    `clock()` is Redis' TIME in whole milliseconds.
    """
    prelude = files("qrsocket").joinpath("base.lua").read_text()
    source = f"#!lua\n{prelude}\nlocal t = redis.call('TIME') return {{clock(), t[1], t[2]}}"

    now, seconds, microseconds = await roundtrip(script_call(Script(source), [keys.base], [], list))

    assert now == int(seconds) * 1000 + int(microseconds) // 1000
