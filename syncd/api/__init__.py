"""One API as it is: HTTP, credentials, pages, records.  The only room that knows httpx."""
