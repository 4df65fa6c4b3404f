"""What is every answer sent with?  It keeps browsers from doing with it what nobody meant."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; font-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
ALWAYS = tuple((name.lower().encode(), value.encode()) for name, value in HEADERS.items())
NO_STORE = (b"cache-control", b"no-store")
"""Of all but the files of the page."""
