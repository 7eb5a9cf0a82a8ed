"""The judge of the fault runs can fail: for each invariant, histories that break it, and others that only seem to."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.history import (
    Asked,
    Event,
    Fault,
    Gap,
    Hook,
    Hooked,
    Job,
    Joined,
    Leftovers,
    Message,
    Presence,
    Quiet,
    Ready,
    Recorder,
    Send,
    Sent,
    read_history,
)
from tests.faults.judge import Limits, Summary, judge, summary
from tests.unit.fault_histories import history

LIMITS = Limits(lease=3, tick=0.3, grace=1, hook_timeout=3, handler_timeout=3)

# Each breaks the invariant of its title, once.
BAD = """
I0: a message that nobody sent
    10 v1 b1; 11 get b1 m1 offset=1
I0: a message in no session
    10 send m1; 11 get b1 m1 offset=1
I0: a request in no session
    10 ask b1 q1
I0: the end of a hook that did not begin
    20 hooked n1 bob:1 online
I1: overtaken
    10 v1 b1; 11 send m1; 12 send m2; 13 get b1 m2 offset=2; 20 close b1
I1: overtaken, and an older one after that
    10 v1 b1; 10.5 send m0 sender=q; 11 send m1; 12 send m2; 13 get b1 m2 offset=1; 14 get b1 m0 offset=2
    20 close b1
I1: connected at the end
    10 v1 b1; 11 send m1
I1: reconnected at the end
    10 v1 b1; 11 close b1; 12 send m1; 13 v1 b2
I1: overtaken in a later session
    10 v1 b1; 11 send m1; 12 close b1; 13 v1 b2; 14 send m2; 15 get b2 m2 offset=2; 16 close b2
I1: overtaken before the gap
    10 v1 b1; 11 send m1; 12 send m2; 13 get b1 m2 offset=2; 14 gap b1 offset=2
I1: a gap before it was sent
    10 v1 b1; 11 gap b1 offset=0; 12 send m1
I1: an unrecovered session before it was sent
    9 v1 b1; 9.5 close b1; 10 v1 b2 recovered=no; 12 send m1
I1: not recovered, and overtaken before
    10 v1 b1; 11 send m1; 12 send m2; 13 get b1 m2 offset=2; 14 close b1; 15 v1 b2 offset=2 recovered=no
    16 close b2
I1: overtaken by an unknown one
    10 v1 b1; 11 send m1; 12 send m2 unknown; 13 get b1 m2 offset=2; 20 close b1
I1: the gap of another device
    10 v1 b1; 11 send m1; 12 v1 c1; 13 gap c1; 14 close c1
I1: a restart from the append-only file
    10 v1 b1; 11 send m1; 11.5 fault restart-redis redis until=12
I1: data loss without a gap
    10 v1 b1; 11 send m1; 11.5 fault wipe-redis redis until=12
I1: to several
    10 v1 b1; 10 v1 c1; 11 send m1 to=bob,carol; 12 get c1 m1 offset=1
I1: plain, overtaken
    10 plain b1; 11 send m1; 12 send m2; 13 get b1 m2; 20 close b1
I1: plain, open at the end
    10 plain b1; 11 send m1
I1: plain, in another session
    10 plain b1; 11 send m1; 10 plain b2; 12 get b1 m1
I1: plain, a restart from the append-only file
    10 plain b1; 11 send m1; 11.5 fault restart-redis redis until=12
I1: plain, data loss long before
    10 plain b1; 11 fault wipe-redis redis until=12; 13.5 send m1
I1: plain, data loss long after
    10 plain b1; 11 send m1; 41.5 fault wipe-redis redis until=42
I2: twice in a session
    10 v1 b1; 11 send m1; 12 get b1 m1 offset=1; 13 get b1 m1 offset=2
I2: twice on a device
    10 v1 b1; 11 send m1; 12 get b1 m1 offset=1; 13 close b1; 14 v1 b2; 15 get b2 m1 offset=1
I2: twice in a plain session
    10 plain b1; 11 send m1; 12 get b1 m1; 13 get b1 m1
I2: a position twice
    10 v1 b1; 11 send m1; 12 send m2; 13 get b1 m1 offset=1; 14 gap b1 offset=0; 15 get b1 m2 offset=1
I2: again after data loss
    10 v1 b1; 11 send m1; 12 get b1 m1 offset=1; 13 fault wipe-redis redis until=14; 15 gap b1 epoch=f
    16 get b1 m1 offset=1
I2: again after a restart while it was sent
    10 v1 b1; 11 send m1 until=15; 12 get b1 m1 offset=1; 13 fault restart-redis redis until=14
    15 gap b1 epoch=f; 16 get b1 m1 offset=1
I2: again after data loss, when its outcome was unknown
    10 v1 b1; 11 send m1 unknown; 12 get b1 m1 offset=1; 13 fault wipe-redis redis until=14; 15 gap b1 epoch=f
    16 get b1 m1 offset=1
I2: again, after another
    10 v1 b1; 11 send m1; 12 send m2; 13 get b1 m1 offset=1; 14 get b1 m2 offset=2; 15 get b1 m1 offset=3
I3: a sender's order
    10 v1 b1; 11 send m1; 12 send m2; 13 get b1 m2 offset=1; 14 get b1 m1 offset=2
I3: a sender's order over sessions
    10 v1 b1; 11 send m1; 12 send m2; 13 get b1 m2 offset=1; 14 close b1; 15 v1 b2; 16 get b2 m1 offset=2
I3: a sender's order, plain
    10 plain b1; 11 send m1; 12 send m2; 13 get b1 m2; 14 get b1 m1
I3: a sender's order, only the later one sent again after data loss
    10 v1 b1; 11 send m1; 12 send m2 until=15; 12.5 get b1 m2 offset=1; 13 fault wipe-redis redis until=14
    14.5 gap b1 epoch=f; 16 get b1 m1 offset=1
I3: offsets
    10 v1 b1; 11 send m1; 12 send m2; 13 get b1 m1 offset=2; 14 get b1 m2 offset=1
I3: an offset before ready's
    10 v1 b1 offset=5; 11 send m1; 13 get b1 m1 offset=5
I3: an offset before the gap's
    10 v1 b1 offset=5; 11 send m1; 12 gap b1 offset=8; 13 get b1 m1 offset=7
I3: before ready
    9 send m1; 10 v1 b1; 10.05 get b1 m1 offset=1
I4: another user's message
    10 v1 b1; 11 send m1 to=carol; 12 get b1 m1 offset=1
I4: another user's message, plain
    10 plain b1; 11 send m1 to=carol; 12 get b1 m1
I4: another user's session
    10 v1 b1 user=carol
I5: two in a row
    20 hook n1 bob:1 online; 30 hook n1 bob:2 online
I5: two in a row, numbered anew
    20 hook n1 bob:1 online; 29 fault wipe-redis redis until=29.5; 30 hook n1 bob:9 online
I5: offline first
    20 hook n1 bob:1 offline
I5: a number is missing
    20 hook n1 bob:1 online; 30 hook n1 bob:4 offline
I5: a number is missing after a restart
    20 hook n1 bob:1 online; 25 fault restart-redis redis until=26; 30 hook n1 bob:4 offline
I5: a number is missing long after data loss
    20 fault wipe-redis redis until=21; 52 hook n1 bob:1 online; 53 hook n1 bob:4 offline
I5: backwards
    20 hook n1 bob:2 offline; 30 hook n1 bob:1 online
I5: again
    20 hook n1 bob:1 online; 30 hook n2 bob:1 online
I5: again after a kill
    20 hook n1 bob:1 online until=never; 20 fault kill-node n1 until=25; 26 hook n2 bob:1 online
I5: a second attempt of a well node
    20 hook n1 bob:1 online; 30 hook n2 bob:1 online attempt=2
I5: a second attempt after another's kill
    20 hook n1 bob:1 online; 22 fault kill-node n2 until=23; 30 hook n2 bob:1 online attempt=2
I5: a second attempt after an old kill
    5 fault kill-node n1 until=6; 20 hook n1 bob:1 online; 30 hook n2 bob:1 online attempt=2
I5: a second attempt of nothing
    30 hook n2 bob:1 online attempt=2
I5: a second attempt of nothing, long after a kill
    20 fault kill-node n1 until=22; 38 hook n2 bob:1 online attempt=2
I5: a second attempt of another kind
    20 hook n1 bob:1 online until=never; 20.1 fault kill-node n1 until=22; 25 hook n2 bob:1 offline attempt=2
I5: a third attempt without a second
    20 hook n1 bob:1 online until=never; 20.1 fault kill-node n1 until=22; 60 hook n2 bob:1 online attempt=3
I5: overlap
    20 hook n1 bob:1 online until=22; 21 hook n2 bob:2 offline
I5: overlap, another node killed
    20 hook n1 bob:1 online until=22; 20.5 fault kill-node n2 until=20.9; 21 hook n2 bob:2 offline
I5: overlap after a kill that comes later
    20 hook n1 bob:1 online until=never; 21 hook n2 bob:2 offline; 21.5 fault kill-node n1 until=30
I5: overlap, and a frozen runner that begins between
    20 fault stop-node n1 until=30; 24 hook n2 bob:1 online attempt=2; 29.5 hook n2 bob:2 offline until=32
    30.1 hook n1 bob:1 online; 31 hook n3 bob:3 online
I5: an old attempt of a well node
    20 fault kill-node n1 until=25; 26 hook n2 bob:1 online attempt=2; 30 hook n3 bob:1 online
I5: endless
    20 hook n1 bob:1 online until=never
I5: too long
    20 hook n1 bob:1 online until=24.5
I5: too long after a thaw
    20 hook n1 bob:1 online until=34.5; 21 fault stop-node n1 until=30
I5: too long, killed much later
    20 hook n1 bob:1 online until=never; 60 fault kill-node n1 until=70
I6: a ghost
    101 presence online=alice,carol truth=alice
I6: unseen
    99 hook n1 bob:1 online; 101 presence online=alice truth=alice,bob
I6: a dead node's key
    102 leftovers node:n1
I6: told offline, and is not
    98 hook n1 bob:1 online; 99 hook n1 bob:2 offline; 101 presence online=alice,bob truth=alice,bob
I6: told online, and is not
    98 hook n1 bob:1 online; 101 presence online=alice truth=alice
I6: never told
    101 presence online=alice,bob truth=alice,bob
I7: offline and back
    0.5 v1 b1; 0.7 hook n1 bob:1 online; 50 hook n1 bob:2 offline; 51 hook n1 bob:3 online
I7: never told online
    0.5 v1 b1; 101 presence online=alice truth=alice
I7: twice
    0.5 v1 b1; 0.5 plain b2 node=n2; 0.7 hook n1 bob:1 online; 2 hook n2 bob:1 online attempt=2
I8: a message
    10 v1 b1; 11 send m1; 12 close b1; 13 get b1 m1 offset=1
I8: a message, plain
    10 plain b1; 11 send m1; 12 close b1; 13 get b1 m1
I8: a gap
    10 v1 b1; 12 close b1; 13 gap b1
I8: ready
    10 v1 b1; 10.05 close b1
I9: no answer
    10 v1 b1; 11 ask b1 q1
I9: a late answer
    10 v1 b1; 11 ask b1 q1; 15.5 answer b1 q1
I9: a late close
    10 v1 b1; 11 ask b1 q1; 15.5 close b1
I9: the answer to another
    10 v1 b1; 11 ask b1 q1; 12 answer b1 q2
I9: the answer in another session
    10 v1 b1; 10 plain c1; 11 ask b1 q1; 12 answer c1 q1
I9: a fault of another node
    10 v1 b1; 11 ask b1 q1; 12 fault stop-node n2 until=15; 16 answer b1 q1
I9: a fault that was over
    10 v1 b1; 10.5 fault stop-node n1 until=10.9; 11 ask b1 q1; 16 answer b1 q1
I9: long after the fault
    10 v1 b1; 11 ask b1 q1; 12 fault stop-redis redis until=15; 22.5 answer b1 q1
I9: another client is deaf
    10 v1 b1; 11 ask b1 q1; 12 fault deaf-client c until=15; 16 answer b1 q1
I13: overtaken in a topic
    10 v1 b1; 10.2 join b1 room:1; 11 send m1 to=room:1; 12 send m2 to=room:1; 13 get b1 m2 offset=2; 20 close b1
I13: joined at the end
    10 v1 b1; 10.2 join b1 room:1; 11 send m1 to=room:1
I13: back in a topic at the end
    10 v1 b1; 10.2 join b1 room:1; 11 close b1; 12 send m1 to=room:1; 13 v1 b2; 13.2 join b2 room:1 recovered=yes
I13: left and back with a position
    10 v1 b1; 10.2 join b1 room:1; 11 leave b1 room:1; 12 send m1 to=room:1; 13 join b1 room:1 recovered=yes
I13: the gap of another topic
    10 v1 b1; 10.2 join b1 room:1; 10.2 join b1 room:2; 11 send m1 to=room:1; 12 gap b1 topic=room:2
I13: the gap of its user
    10 v1 b1; 10.2 join b1 room:1; 11 send m1 to=room:1; 12 gap b1
I13: everyone's
    10 v1 b1; 10.2 join b1 *; 11 send m1 to=*
I13: twice in a topic
    10 v1 b1; 10.2 join b1 room:1; 11 send m1 to=room:1; 12 get b1 m1 offset=1; 13 get b1 m1 offset=2
I13: twice, left between
    10 v1 b1; 10.2 join b1 room:1; 11 send m1 to=room:1; 12 get b1 m1 offset=1; 13 leave b1 room:1
    14 join b1 room:1; 15 get b1 m1 offset=1
I13: twice, not kept
    10 v1 b1; 10.2 join b1 room:1; 11 send m1 to=room:1 kept=no; 12 get b1 m1; 13 get b1 m1
I13: a sender's order in a topic
    10 v1 b1; 10.2 join b1 room:1; 11 send m1 to=room:1; 12 send m2 to=room:1; 13 get b1 m2 offset=1
    14 get b1 m1 offset=2
I13: offsets of a topic
    10 v1 b1; 10.2 join b1 room:1 offset=5; 11 send m1 to=room:1; 12 get b1 m1 offset=5
I13: not recovered, though it is kept
    10 v1 b1; 10.2 join b1 room:1 since=e.3 offset=7
I1: not recovered, though it is kept
    10 v1 b1; 11 close b1; 12 v1 b2 since=e.3 offset=7 recovered=no
I13: the one left out is not the only one
    10 v1 b1; 10.2 join b1 room:1; 10 v1 c1; 10.2 join c1 room:1; 11 send m1 to=room:1 but=c1
I1: of a user's others
    10 v1 b1; 10 plain b2; 11 send m1 but=b2
I14: not joined
    10 v1 b1; 11 send m1 to=room:1; 12 get b1 m1 offset=1
I14: before it has joined
    10 v1 b1; 9 send m1 to=room:1; 10.2 get b1 m1 offset=1; 10.3 join b1 room:1 offset=1
I14: after it has left
    10 v1 b1; 10.2 join b1 room:1; 11 leave b1 room:1; 11.5 send m1 to=room:1; 12 get b1 m1 offset=1
I14: joined in another session
    10 v1 b1; 10.2 join b1 room:1; 11 close b1; 12 v1 b2; 12.5 send m1 to=room:1; 13 get b2 m1 offset=1
I14: not joined, not kept
    10 v1 b1; 11 send m1 to=room:1 kept=no; 12 get b1 m1
I14: a gap of a topic that was not joined
    10 v1 b1; 11 gap b1 topic=room:1
I14: a message of another topic
    10 v1 b1; 10.2 join b1 room:2; 11 send m1 to=room:1; 12 get b1 m1 offset=1 topic=room:2
I14: its user's message, as a topic's
    10 v1 b1; 10.2 join b1 room:2; 11 send m1 kept=no; 12 get b1 m1 topic=room:2
I4: a topic's message, as its user's
    10 v1 b1; 10.2 join b1 room:1; 11 send m1 to=room:1 kept=no; 12 get b1 m1 topic=own
I8: a message of a topic
    10 v1 b1; 10.2 join b1 room:1; 11 send m1 to=room:1; 12 close b1; 13 get b1 m1 offset=1
I15: a ghost in a topic
    10 v1 b1; 10.2 join b1 room:1 members=bob,carol
I15: a member who is not told
    10 v1 b1; 10.2 join b1 room:1 members=bob; 10 v1 c1; 10.2 join c1 room:1 members=bob,carol
I15: one who has left
    10 v1 b1; 10.2 join b1 room:1 members=bob; 10 v1 c1; 10.2 join c1 room:1 members=bob,carol
    10.3 change b1 room:1 joined=carol; 50 leave c1 room:1
I15: one who is gone
    10 v1 b1; 10.2 join b1 room:1 members=bob,carol; 10 v1 c1; 10.2 join c1 room:1 members=bob,carol; 50 close c1
I15: a change of another topic
    10 v1 b1; 10.2 join b1 room:1 members=bob; 10 v1 c1; 10.2 join c1 room:1; 11 change b1 room:2 joined=carol
I15: told after the end
    10 v1 b1; 10.2 join b1 room:1 members=bob; 10 v1 c1; 10.2 join c1 room:1; 102 change b1 room:1 joined=carol
I15: a ghost in Redis
    10 v1 b1; 10.2 join b1 room:1; 101 members room:1 users=bob,carol count=1
I15: nobody in Redis
    10 v1 b1; 10.2 join b1 room:1; 101 members room:1 users= count=1
I15: too many counted
    10 v1 b1; 10.2 join b1 room:1; 101 members room:1 users=bob count=2
I16: no answer
    10 v1 b1; 11 asks b1 q1
I16: a late answer
    10 v1 b1; 11 asks b1 q1; 15.5 replies b1 q1
I16: two answers
    10 v1 b1; 11 asks b1 q1; 12 replies b1 q1; 13 replies b1 q1
I16: an answer and an error
    10 v1 b1; 11 asks b1 q1; 12 replies b1 q1; 13 replies b1 q1 outcome=error
I16: no answer after data loss
    10 v1 b1; 11 asks b1 q1; 12 fault wipe-redis redis until=13; 14 gap b1 epoch=f
I16: the answer to another
    10 v1 b1; 11 asks b1 q1; 12 replies b1 q1 outcome=wrong
I16: an answer where there is an error
    10 v1 b1; 11 asks b1 q1 fails=yes; 12 replies b1 q1
I16: an answer to nothing
    10 v1 b1; 11 replies b1 q1
I16: an answer in the next session
    10 v1 b1; 11 asks b1 q1; 11.5 close b1; 12 v1 b2; 13 replies b2 q1
I17: the connection that asked
    10 v1 b1; 10.2 join b1 room:1; 11 send m1 to=room:1 but=b1; 12 get b1 m1 offset=1
I17: of a user's others
    10 plain b1; 11 send m1 but=b1; 12 get b1 m1
I17: the connection with which it came back
    10 v1 b1; 10.2 join b1 room:1; 11 send m1 to=room:1 but=b1; 12 close b1; 13 v1 b2
    13.2 join b2 room:1 recovered=yes; 14 get b2 m1 offset=1
I17: after a connection that was never ready
    10 v1 b1; 10.2 join b1 room:1; 11 send m1 to=room:1 but=b1; 12 close b1; 13 v1 b3
    13.2 join b3 room:1 recovered=yes; 14 get b3 m1 offset=1
I18: an older state after a newer one
    10 v1 b1; 11 job b1 j1 succeeded seq=3; 12 job b1 j1 started seq=2
I18: its end was not told
    10 v1 b1; 11 job b1 j1 started seq=2; 101 watched bob j1 succeeded seq=3
I18: it was not told of
    10 v1 b1; 101 watched bob j1 succeeded seq=3
I18: only the other device was told
    10 v1 b1; 10 v1 b2; 11 job b1 j1 succeeded seq=2; 11 close b1; 12 v1 c1; 12.5 job c1 j1 started seq=1
    13 close b2; 101 watched carol j1 succeeded seq=2
I18: it was told something newer
    10 v1 b1; 11 job b1 j1 succeeded seq=3; 12 job b1 j2 started seq=4; 101 watched bob j1 started seq=2
I10: memory
    102 leak n1: memory grew by 100 MiB
I11: a secret
    102 leak canary in the log of n1
"""

# Each is of a kind with bad ones of its invariant, and breaks none.
GOOD = """
I0: nothing more
I1: received
    10 v1 b1; 11 send m1; 12 get b1 m1 offset=1
I1: received after the end
    10 v1 b1; 11 send m1; 100.5 get b1 m1 offset=1
I1: received in the next session
    10 v1 b1; 11 send m1; 12 close b1; 13 v1 b2; 14 get b2 m1 offset=1
I1: sent before the device was ready
    10 v1 b1; 10.05 send m1
I1: not to this user
    10 v1 b1; 11 send m1 to=carol
I1: unknown, never received
    10 v1 b1; 11 send m1 unknown; 12 send m2; 13 get b1 m2 offset=1
I1: no outcome, never received
    10 v1 b1; 11 send m1 silence; 12 send m2; 13 get b1 m2 offset=1
I1: unknown, received late
    10 v1 b1; 11 send m1 unknown; 12 send m2; 13 get b1 m2 offset=1; 40 get b1 m1 offset=2
I1: unknown, received before it was
    10 v1 b1; 11 send m1 unknown until=20; 12 get b1 m1 offset=1
I1: not connected at the end
    10 v1 b1; 11 send m1; 12 close b1
I1: connecting at the end
    10 v1 b1; 11 send m1; 12 close b1; 99.95 v1 b2
I1: overtaken by one sent at the same time
    10 v1 b1; 11 send m1; 11.05 send m2 sender=q; 12 get b1 m2 offset=1; 13 close b1
I1: a gap
    10 v1 b1; 11 send m1; 12 gap b1 offset=1; 13 send m2; 14 get b1 m2 offset=2
I1: a gap while it was sent
    10 v1 b1; 11 send m1 until=13; 12 gap b1 offset=1
I1: not recovered
    10 v1 b1; 11 send m1; 12 close b1; 13 v1 b2 recovered=no offset=1; 14 send m2; 15 get b2 m2 offset=2
I1: the first of two gaps
    10 v1 b1; 11 send m1; 12 gap b1 offset=1; 13 send m2; 14 get b1 m2 offset=2; 15 gap b1 offset=2
I1: data loss with a gap
    10 v1 b1; 11 send m1; 12 fault wipe-redis redis until=13; 14 gap b1 epoch=f; 15 send m2
    16 get b1 m2 offset=1
I1: plain, closed
    10 plain b1; 11 send m1; 12 close b1
I1: plain, sent before it was open
    10 plain b1; 10.05 send m1
I1: plain, in one of two sessions
    10 plain b1; 11 send m1; 12 get b1 m1; 13 plain b2
I1: plain, data loss just before
    10 plain b1; 10.5 fault wipe-redis redis until=10.6; 11 send m1
I1: plain, during data loss
    10 plain b1; 10.5 fault wipe-redis redis until=14; 13 send m1
I1: plain, data loss after
    10 plain b1; 11 send m1; 40 fault rollback-redis redis until=41
I1: plain, unknown
    10 plain b1; 11 send m1 unknown
I2: two devices of a user
    10 v1 b1; 10 plain b2; 11 send m1; 12 get b1 m1 offset=1; 12 get b2 m1
I2: two plain sessions
    10 plain b1; 10 plain b2; 11 send m1; 12 get b1 m1; 12 get b2 m1
I2: an offset again in another epoch
    10 v1 b1; 11 send m1; 12 get b1 m1 offset=1; 13 gap b1 epoch=f; 14 send m2; 15 get b1 m2 offset=1
I2: sent again after data loss
    10 v1 b1; 11 send m1 until=15; 12 get b1 m1 offset=1; 13 fault wipe-redis redis until=14
    15 gap b1 epoch=f; 16 get b1 m1 offset=1
I2: sent again by a job done again
    10 v1 b1; 11 send m1; 12 get b1 m1 offset=1; 13 fault rollback-redis redis until=14; 15 gap b1 epoch=f
    16 send m1; 17 get b1 m1 offset=1
I2: sent by nobody that lives
    10 v1 b1; 11 send m1 silence; 12 get b1 m1 offset=1; 13 fault wipe-redis redis until=14; 15 gap b1 epoch=f
    16 get b1 m1 offset=1
I3: two senders
    10 v1 b1; 11 send m1 sender=p; 12 send m2 sender=q; 13 get b1 m2 offset=1; 14 get b1 m1 offset=2
I3: an unknown one between
    10 v1 b1; 11 send m1; 12 send m2 unknown; 13 send m3; 14 get b1 m1 offset=1; 15 get b1 m3 offset=2
    16 get b1 m2 offset=3
I3: offsets skip
    10 v1 b1; 11 send m1; 12 get b1 m1 offset=7
I3: offsets begin again after a gap
    10 v1 b1; 11 send m1; 12 send m2; 13 get b1 m1 offset=7; 14 gap b1 epoch=f; 15 get b1 m2 offset=1
I3: sent again after data loss
    10 v1 b1; 11 send m1 until=15; 12 send m2 until=15; 12.5 get b1 m2 offset=2
    13 fault wipe-redis redis until=14; 14.5 gap b1 epoch=f; 16 get b1 m1 offset=1
I4: one of several users
    10 v1 b1; 11 send m1 to=carol,bob; 12 get b1 m1 offset=1
I5: there and back
    20 hook n1 bob:1 online; 30 hook n2 bob:2 offline; 30.1 hook n1 bob:3 online
I5: numbered anew after data loss
    20 hook n1 bob:1 online; 25 fault wipe-redis redis until=26; 80 hook n1 bob:9 offline
I5: numbered anew soon after data loss
    20 fault wipe-redis redis until=21; 48 hook n1 bob:1 online; 49 hook n1 bob:9 offline
I5: offline first after data loss
    15 fault wipe-redis redis until=16; 20 hook n1 bob:1 offline
I5: a second attempt after a kill
    20 hook n1 bob:1 online until=never; 20.5 fault kill-node n1 until=25; 24 hook n2 bob:1 online attempt=2
I5: a second attempt after a kill just before
    20 fault kill-node n1 until=25; 20.01 hook n1 bob:1 online until=never; 24 hook n2 bob:1 online attempt=2
I5: a second attempt after a kill between two hooks
    20 fault kill-node n1 until=25; 24 hook n2 bob:1 online attempt=2
I5: a second attempt of nothing, some time after a kill
    20 fault kill-node n1 until=22; 36.5 hook n2 bob:1 online attempt=2
I5: a second attempt of nothing, after a cut
    20 fault cut-node n1 until=24; 24 hook n2 bob:1 online attempt=2
I5: a second attempt, long after a kill
    20 hook n1 bob:1 online until=never; 20.1 fault kill-node n1 until=22; 60 hook n2 bob:1 online attempt=2
I5: a second attempt after the acknowledgement was cut
    19 fault cut-node n1 until=25; 20 hook n1 bob:1 online; 24 hook n2 bob:1 online attempt=2
I5: a second attempt after an outage of Redis
    20 hook n1 bob:1 online; 20.1 fault down-redis redis until=27; 28 hook n2 bob:1 online attempt=2
I5: a third attempt
    20 hook n1 bob:1 online until=never; 20.5 fault kill-node n1 until=22
    24 hook n2 bob:1 online until=never attempt=2; 24.5 fault kill-node n2 until=29
    28 hook n1 bob:1 online attempt=3
I5: the frozen runner ends later
    20 hook n1 bob:1 online until=30.1; 20.05 fault stop-node n1 until=30; 24 hook n2 bob:1 online attempt=2
    26 hook n2 bob:2 offline
I5: the frozen runner begins later
    20 fault stop-node n1 until=30; 24 hook n2 bob:1 online attempt=2; 29.5 hook n2 bob:2 offline until=30.5
    30.1 hook n1 bob:1 online; 101 presence online=alice truth=alice
I5: killed in the midst
    20 hook n1 bob:1 online until=never; 21 fault kill-node n1 until=30
I5: still running at the end
    99 hook n1 bob:1 online until=never
I5: just in time
    20 hook n1 bob:1 online until=23.9
I5: only after the end
    101 presence online=alice truth=alice; 102 hook n1 bob:1 offline
I5: taken down
    20 hook n1 bob:1 online; 102 hook n1 bob:2 offline until=never
    101 presence online=alice,bob truth=alice,bob
I6: in another order
    50 hook n1 bob:1 online; 101 presence online=alice,bob truth=bob,alice
I6: never told, since Redis forgot
    50 fault wipe-redis redis until=51; 101 presence online=alice,bob truth=alice,bob
I7: permanent
    0.5 v1 b1; 0.7 hook n1 bob:1 online
I7: came after the first fault
    2 v1 b1; 2.1 hook n1 bob:1 online; 50 hook n1 bob:2 offline; 51 hook n1 bob:3 online
I7: permanent, on a node with a fault
    0.5 v1 b1; 0.7 hook n1 bob:1 online; 40 fault cut-node n1 until=50; 50 hook n1 bob:2 offline
    51 hook n1 bob:3 online
I7: permanent, with another session
    0.5 v1 b1; 0.5 plain b2; 0.7 hook n1 bob:1 online; 40 close b2; 50 hook n1 bob:2 offline
    51 hook n1 bob:3 online
I7: taken down after the end
    0.5 v1 b1; 0.7 hook n1 bob:1 online; 101 presence online=alice,bob truth=alice,bob; 102 close b1
    103 hook n1 bob:2 offline
I9: answered
    10 v1 b1; 11 ask b1 q1; 14.9 answer b1 q1
I9: answered twice
    10 v1 b1; 11 ask b1 q1; 12 answer b1 q1; 20 answer b1 q1
I9: closed
    10 v1 b1; 11 ask b1 q1; 14.9 close b1
I9: at the end
    10 v1 b1; 99 ask b1 q1
I9: an outage of Redis
    10 v1 b1; 11 ask b1 q1; 12 fault stop-redis redis until=15; 21.9 answer b1 q1
I9: an outage that does not end
    10 v1 b1; 11 ask b1 q1; 12 fault stop-redis redis
I9: one outage after another
    10 v1 b1; 11 ask b1 q1; 12 fault stop-redis redis until=15; 20 fault cut-node n1 until=25; 31 answer b1 q1
I9: one outage within another
    10 v1 b1; 11 ask b1 q1; 12 fault stop-node n1 until=30; 13 fault kill-clients redis until=13.1
    36.5 answer b1 q1
I9: its answer is lost with the data
    10 v1 b1; 11 ask b1 q1; 12 fault wipe-redis redis until=13; 14 gap b1 epoch=f
I9: a frozen node
    10 v1 b1; 10.5 fault stop-node n1 until=20; 11 ask b1 q1; 21 answer b1 q1
I9: a deaf client
    10 v1 b1; 11 ask b1 q1; 12 fault deaf-client b until=20; 21 answer b1 q1
I13: received in a topic
    10 v1 b1; 10.2 join b1 room:1; 11 send m1 to=room:1; 12 get b1 m1 offset=1
I13: two topics with one offset
    10 v1 b1; 10.2 join b1 room:1; 10.2 join b1 room:2; 11 send m1 to=room:1; 12 get b1 m1 offset=1
    13 send m2 to=room:2; 14 get b1 m2 offset=1; 15 send m3; 16 get b1 m3 offset=1
I13: received when it was back
    10 v1 b1; 10.2 join b1 room:1; 11 close b1; 12 send m1 to=room:1; 13 v1 b2; 13.2 join b2 room:1 recovered=yes
    14 get b2 m1 offset=1
I13: received when it was back with a position
    10 v1 b1; 10.2 join b1 room:1; 11 leave b1 room:1; 12 send m1 to=room:1
    13 join b1 room:1 recovered=yes since=e.0; 14 get b1 m1 offset=1
I13: sent before it has joined
    10 v1 b1; 10.15 send m1 to=room:1; 10.2 join b1 room:1 offset=1
I13: sent after it has left
    10 v1 b1; 10.2 join b1 room:1; 11 leave b1 room:1; 12 send m1 to=room:1
I13: left, and back without a position
    10 v1 b1; 10.2 join b1 room:1; 11 leave b1 room:1; 12 send m1 to=room:1; 13 join b1 room:1 offset=1
    14 send m2 to=room:1; 15 get b1 m2 offset=2
I13: a gap in a topic
    10 v1 b1; 10.2 join b1 room:1; 11 send m1 to=room:1; 12 gap b1 topic=room:1 offset=1; 13 send m2 to=room:1
    14 get b1 m2 offset=2
I13: not kept, and not received
    10 v1 b1; 10.2 join b1 room:1; 11 send m1 to=room:1 kept=no; 12 send m2 to=room:1; 13 get b1 m2 offset=1
I13: not kept, before the gap
    10 v1 b1; 10.2 join b1 room:1; 11 send m1 to=room:1; 12 send m2 to=room:1 kept=no; 13 get b1 m2
    14 gap b1 topic=room:1 offset=1
I1: not kept, overtaking
    10 plain b1; 11 send m1; 12 send m2 kept=no; 13 get b1 m2; 14 close b1
I13: not kept, and out of order
    10 v1 b1; 10.2 join b1 room:1; 11 send m1 to=room:1; 12 send m2 to=room:1 kept=no; 13 get b1 m2
    14 get b1 m1 offset=1
I13: another epoch
    10 v1 b1; 10.2 join b1 room:1 since=f.3 offset=7
I13: a first time
    10 v1 b1; 10.2 join b1 room:1 offset=7
I13: too long away
    10 v1 b1; 10.2 join b1 room:1 since=e.3 offset=259
I13: an offset that Redis did not give
    10 v1 b1; 10.2 join b1 room:1 since=e.9 offset=7
I1: another epoch
    10 v1 b1; 11 close b1; 12 v1 b2 since=f.3 offset=7 recovered=no
I3: everyone's, and its own, in a plain session
    10 plain b1; 11 send m1; 12 send m2 to=*; 13 get b1 m2; 14 get b1 m1
I1: everyone's, overtaking its own, in a plain session
    10 plain b1; 11 send m1; 12 send m2 to=*; 13 get b1 m2; 14 close b1
I14: left and joined
    10 v1 b1; 10.2 join b1 room:1; 11 leave b1 room:1; 12 join b1 room:1; 13 send m1 to=room:1; 14 get b1 m1 offset=1
I14: on its way while it leaves
    10 v1 b1; 10.2 join b1 room:1; 11 send m1 to=room:1; 12 get b1 m1 offset=1; 12 leave b1 room:1
I14: everyone's, in a plain session
    10 plain b1; 11 send m1 to=* kept=no; 12 get b1 m1
I15: all are told
    10 v1 b1; 10.2 join b1 room:1 members=bob; 10 v1 c1; 10.2 join c1 room:1 members=bob,carol
    10.3 change b1 room:1 joined=carol; 101 members room:1 users=bob,carol count=2
I15: a second device
    10 v1 b1; 10.2 join b1 room:1 members=bob; 11 v1 c1; 11.2 join c1 room:1 members=bob,carol; 12 close c1
    11.3 change b1 room:1 joined=carol; 20 change b1 room:1 left=carol; 101 members room:1 users=bob count=1
I15: who has left is told nothing
    10 v1 b1; 10.2 join b1 room:1 members=bob; 20 leave b1 room:1; 30 v1 c1; 30.2 join c1 room:1 members=carol
I15: they are not told
    10 v1 b1; 10.2 join b1 room:1; 10 v1 c1; 10.2 join c1 room:1
I15: told anew
    10 v1 b1; 10.2 join b1 room:1 members=bob,carol; 20 close b1; 21 v1 b2; 21.2 join b2 room:1 members=bob
I16: answered
    10 v1 b1; 11 asks b1 q1; 14.9 replies b1 q1
I16: an error
    10 v1 b1; 11 asks b1 q1; 12 replies b1 q1 outcome=error; 13 asks b1 q2 fails=yes; 14 replies b1 q2 outcome=error
I16: the end of the connection
    10 v1 b1; 11 asks b1 q1; 14.9 close b1
I16: at the end
    10 v1 b1; 99 asks b1 q1
I16: a frozen node
    10 v1 b1; 10.5 fault stop-node n1 until=20; 11 asks b1 q1; 21 replies b1 q1
I17: all others
    10 v1 b1; 10.2 join b1 room:1; 10 v1 c1; 10.2 join c1 room:1; 11 send m1 to=room:1 but=c1; 12 get b1 m1 offset=1
I17: another session of its user
    10 v1 b1; 10 plain b2; 11 send m1 but=b2; 12 get b1 m1 offset=1
I17: a session later on
    10 v1 b1; 11 send m1 but=b1; 12 close b1; 13 v1 b2; 14 close b2; 15 v1 b3; 16 get b3 m1 offset=1
I18: told
    10 v1 b1; 11 job b1 j1 started seq=2; 12 job b1 j1 succeeded seq=3; 101 watched bob j1 succeeded seq=3
I18: told by a list
    10 v1 b1; 11 job b1 j1 started seq=2; 12 close b1; 20 v1 b2; 20.1 job b2 j1 succeeded seq=3 listed=yes
    101 watched bob j1 succeeded seq=3
I18: an old list
    10 v1 b1; 11 job b1 j1 succeeded seq=3; 12 job b1 j1 started seq=2 listed=yes; 101 watched bob j1 succeeded seq=3
I18: two jobs
    10 v1 b1; 11 job b1 j1 succeeded seq=3; 12 job b1 j2 started seq=2; 101 watched bob j1 succeeded seq=3
I18: another place in the line
    10 v1 b1; 11 job b1 j1 waiting seq=3; 101 watched bob j1 waiting seq=4
I18: newer than what Redis still knows
    10 v1 b1; 11 job b1 j1 succeeded seq=3; 20 fault rollback-redis redis until=21; 101 watched bob j1 started seq=2
I18: not connected at the end
    10 v1 b1; 20 close b1; 101 watched bob j1 succeeded seq=3
I18: a plain client
    10 plain b1; 101 watched bob j1 succeeded seq=3
"""


def cases(text: str) -> list[object]:
    """Return the histories in *text*, each with the invariant of its title: a line that is not indented."""
    parts = [case.partition("\n") for case in re.split(r"\n(?! )", text.strip())]
    return [pytest.param(title.partition(":")[0], told, id=title) for title, _, told in parts]


@pytest.mark.parametrize(("invariant", "text"), cases(BAD))
def test_violation_is_found(invariant: str, text: str) -> None:
    """
    A history that breaks one invariant once has just that violation.
    """
    assert [invariant] == [violation.invariant for violation in judge(history(text), LIMITS)]


@pytest.mark.parametrize(("invariant", "text"), cases(GOOD))
def test_no_false_alarm(invariant: str, text: str) -> None:
    """
    What may happen to a sound library is no violation.
    """
    assert [] == judge(history(text), LIMITS)


@pytest.mark.parametrize(
    "fault",
    [
        "kill-clients",
        "pause-redis",
        "restart-redis",
        "stop-redis",
        "down-redis",
        "rollback-redis",
        "wipe-redis",
        "full-redis",
        "cut-relay",
    ],
)
def test_redis_may_have_a_hook_run_again(fault: str) -> None:
    """
    Whatever happens to Redis, a runner may have lost its hook by it, and answers may be late.
    """
    text = f"""
        20 hook n1 bob:1 online; 21 fault {fault} redis until=22; 25 hook n2 bob:1 online attempt=2
        18 plain c1; 20 ask c1 q1; 25 answer c1 q1
    """

    assert [] == judge(history(text), LIMITS)


@pytest.mark.parametrize(
    ("is_missing", "why"),
    [
        (lambda event: isinstance(event, Quiet), "it never became quiet"),
        (lambda event: isinstance(event, Fault), "there was no fault"),
        (lambda event: isinstance(event, Hook | Hooked), "there was no hook"),
        (lambda event: isinstance(event, Presence), "no presence was compared"),
        (lambda event: isinstance(event, Leftovers), "nobody looked for leftovers"),
        (lambda event: isinstance(event, Sent) and event.id == "a-7", "only 99 messages were acknowledged"),
        (lambda event: isinstance(event, Asked), "nothing was asked"),
        (lambda event: isinstance(event, Job), "nobody watched a job"),
        (lambda event: isinstance(event, Joined), "nobody recovered in a topic"),
    ],
)
def test_history_that_proves_nothing(is_missing: Callable[[Event], bool], why: str) -> None:
    """
    A history without what a run is for is a violation by itself.
    """
    events = [event for event in history("") if not is_missing(event)]

    assert why in [violation.text for violation in judge(events, LIMITS) if violation.invariant == "I0"]


def test_history_without_a_recovery() -> None:
    """
    A run in which no device came back and recovered proves nothing.
    """
    events = [
        replace(event, recovered=False) if isinstance(event, Ready) and event.session == "a2" else event
        for event in history("")
    ]

    assert ["nobody reconnected and recovered"] == [violation.text for violation in judge(events, LIMITS)]


def test_empty_history() -> None:
    """
    Nothing at all is judged, too.
    """
    assert {"I0"} == {violation.invariant for violation in judge([], LIMITS)}


def test_text_is_concrete() -> None:
    """
    A violation tells who, what and when, in seconds since the beginning.
    """
    late = [
        replace(event, at=event.at + 1_000)
        for event in history("10 v1 b1; 11 send m1; 12 send m2; 13 get b1 m2 offset=2; 20 close b1")
    ]

    [violation] = judge(late, LIMITS)

    assert (
        "m1, sent 11.000 s and acknowledged 11.100 s, did not reach device b of bob; m2, sent 12.000 s, did"
        == violation.text
    )


def test_summary() -> None:
    """
    A summary counts what a history is made of.
    """
    events = history(
        """
        10 v1 b1; 11 send m1; 12 get b1 m1 offset=1; 13 send m2 unknown; 14 send m3 silence
        20 fault kill-node n1 until=25; 20.1 close b1; 24 hook n2 bob:1 online attempt=2
        26 v1 b2 offset=1; 27 gap b2; 28 close b2; 29 v1 b3 recovered=no; 30 fault kill-node n2
        """
    )
    expected = Summary(
        faults={"kill-clients": 1, "kill-node": 2},
        sent=103,
        acknowledged=101,
        unknown=1,
        received=101,
        sessions=5,
        recoveries=2,
        unrecovered=1,
        gaps=1,
        hooks=2,
        reruns=1,
        joins=2,
        topic_recoveries=1,
        requests=1,
        jobs=1,
        violations=0,
    )

    assert expected == summary(events, judge(events, LIMITS))


def test_recorded_history_is_read(tmp_path: Path) -> None:
    """
    What several processes recorded is read as one history, in the order of the clock; more fields do no harm.
    """
    client, publisher = Recorder(tmp_path, "client"), Recorder(tmp_path, "publisher")
    publisher.record("send", sender="p", n=1, id="m1", to=["bob"], kept=True, but="", colour="blue")
    client.record("message", session="b1", id="m1", sender="p", n=1, to=["bob"], offset=None, topic="")
    publisher.record("sent", id="m1", connections=1)
    client.close()
    publisher.close()

    events = read_history(tmp_path)

    send, message, sent = events
    assert Send(send.at, "p", 1, "m1", ("bob",), True, "") == send
    assert Message(message.at, "b1", "m1", "p", 1, ("bob",), None, "") == message
    assert Sent(sent.at, "m1", 1) == sent
    assert send.at <= message.at <= sent.at


def test_torn_line_is_left_out(tmp_path: Path) -> None:
    """
    The line that a killed process did not finish is left out, also when its successor continues the file.
    """
    path = tmp_path / "node.jsonl"
    path.write_text('{"at":1.0,"e":"quiet"}\n{"at":2.0,"e":"qu')
    before = read_history(tmp_path)
    node = Recorder(tmp_path, "node")
    node.record("gap", session="b1", epoch="e", offset=1, topic="")
    node.close()

    quiet, gap = read_history(tmp_path)

    assert [Quiet(1.0)] == before == [quiet]
    assert isinstance(gap, Gap)


@pytest.mark.parametrize("line", ['{"at":1.0,"e":"q', '{"at":1.0,"e":"quite"}', '{"at":1.0,"e":"leak"}', "[]"])
def test_line_that_is_no_event(line: str, tmp_path: Path) -> None:
    """
    A whole line that is no event is an error that names it: a history with holes must not pass.
    """
    (tmp_path / "node.jsonl").write_text(f'{{"at":1.0,"e":"quiet"}}\n{line}\n')

    with pytest.raises(ValueError, match=r"node\.jsonl, line 2"):
        read_history(tmp_path)


def test_missing_field_is_refused(tmp_path: Path) -> None:
    """
    A process that records less than the judge needs is told so at once.
    """
    recorder = Recorder(tmp_path, "client")

    with pytest.raises(TypeError, match="gap needs epoch, offset"):
        recorder.record("gap", session="b1")
    recorder.close()
