"""Lints one answer with REDbot and prints what it finds: ID, where, text, with tabs between.

    lint.py WHERE EXPECTED-STATUS METHOD URL [NAME:VALUE…]

Notes of the levels WARN and BAD are findings, also those of its further requests (conditional, ranges, encodings).
"""

import sys
from configparser import ConfigParser

import thor
from redbot.resource import HttpResource

where, expected, method, url, *fields = sys.argv[1:]
parser = ConfigParser()
# It refuses loopback otherwise.
parser.read_dict({"redbot": {"enable_local_access": "True"}})
resource = HttpResource(parser["redbot"])
resource.set_request(url, method=method, headers=[tuple(field.split(":", 1)) for field in fields])


@thor.events.on(resource)
def check_done() -> None:
    thor.stop()


resource.check()
thor.run()
status = resource.response.status_code
if status != int(expected):
    sys.exit(f"{where}: status {status} in place of {expected}; {resource.fetch_error!r}")
for response in [resource, *resource.subreqs.values()]:
    for note in response.response.notes:
        if note.level.name in ("WARN", "BAD"):
            print(type(note).__name__, where, f"{response.check_name}: {note.summary}", sep="\t")
print(f"{where}: {len(resource.response.notes)} notes", file=sys.stderr)
