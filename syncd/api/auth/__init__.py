"""How does a request show whose account it is of?

signing   what each request carries, as httpx.Auth
bought    bearer tokens that have to be asked for, end, and are replaced: once for all
logins    the requests that buy them, one kind each
"""
