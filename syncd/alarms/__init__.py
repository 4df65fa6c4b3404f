"""Who is told what needs a person, and once?

What an alarm and a message are, and what this room needs of others, stands in `sync.alarm`.

rules       which alarm begins or ends with an event of the loop
watch       when one receiver is told of it: not too soon, not twice, not at each flap
words       what it is called
shapes      a message as JSON, and as Slack wants it
mailbox     the messages to one receiver, in order, until it has taken them
heartbeats  the opposite: a sign of life after each good cycle
telling     all of it together, for as long as syncd runs
"""
