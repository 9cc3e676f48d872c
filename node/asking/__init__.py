"""The commands that ask a running node through its site: `gearmesh cluster ...` and `gearmesh healthcheck`.

`client` asks, `commands` are the command line, `shown` is what a person sees. They need no event loop, and load aiohttp
only when there is something to prove: a health check is run every few seconds. Not for: what the site does
(`node.site`).
"""
