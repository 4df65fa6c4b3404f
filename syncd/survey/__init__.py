"""What is at this address?  From a handful of requests to a config that runs.

asking    how many requests are made, and how politely
answers   what one answer holds: its list, what stands around it
signs     which kinds of paging does an answer speak of?
trying    does a kind of paging hold, and does the API give larger pages?
records   what makes a record the same one, of which types are its fields?
names     what are source and stream called?
survey    in which order all that is found out
written   the config, as text

What was seen is told apart from what is only likely: each finding says whether it is sure,
and why.  Nothing here writes a file or talks to a terminal.
"""
