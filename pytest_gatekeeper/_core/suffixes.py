"""Public suffixes: names below which anyone can have a name, so that a wildcard there is a wildcard over strangers.

A short list of what turns up in practice, not the whole of publicsuffix.org, which would be a dependency that ages. A
name that is missing here costs a finding, never a credential.
"""

from __future__ import annotations

import re

__all__ = ["is_public_suffix"]

_OWN = frozenset((
    "arpa", "corp", "example", "home", "internal", "intranet", "invalid", "lan", "local", "localdomain", "localhost",
    "private", "svc", "test",
))  # fmt: skip
"""Single labels that nobody can register: RFC 2606, RFC 6761, RFC 6762, ICANN's `internal`, and what clusters use."""

_BELOW_COUNTRIES = {
    "ar": "com edu gob net org", "au": "asn com edu gov id net org", "br": "com edu gov net org",
    "cn": "ac com edu gov net org", "co": "com edu gov net org", "hk": "com edu gov net org", "id": "ac co go or web",
    "il": "ac co gov net org", "in": "ac co edu firm gov net org", "jp": "ac ad co ed go gr lg ne or",
    "ke": "ac co go ne or", "kr": "ac co go ne or pe re", "mx": "com edu gob net org", "my": "com edu gov net org",
    "ng": "com edu gov net org", "nz": "ac co geek gen govt net org school", "ph": "com edu gov net org",
    "pl": "com edu gov net org", "sg": "com edu gov net org", "th": "ac co go in or", "tr": "com edu gov k12 net org",
    "tw": "com edu gov net org", "ua": "com edu gov net org", "uk": "ac co gov ltd me net nhs org plc police sch",
    "vn": "com edu gov net org", "za": "ac co gov net org web",
}  # fmt: skip
"""Second labels under which a country's registry takes names."""

_SHARED = frozenset((
    "amazonaws.com", "appspot.com", "awsapprunner.com", "azure-api.net", "azurecontainerapps.io", "azureedge.net",
    "azurefd.net", "azurestaticapps.net", "azurewebsites.net", "blob.core.windows.net", "cloudapp.azure.com",
    "cloudapp.net", "cloudfront.net", "cloudfunctions.net", "deno.dev", "digitaloceanspaces.com", "duckdns.org",
    "elasticbeanstalk.com", "fastly.net", "firebaseapp.com", "fly.dev", "github.dev", "github.io", "gitlab.io",
    "glitch.me", "herokuapp.com", "loca.lt", "myshopify.com", "netlify.app",
    "ngrok-free.app", "ngrok.app", "ngrok.dev", "ngrok.io", "nip.io", "on.aws", "ondigitalocean.app", "onrender.com",
    "pages.dev", "r2.dev", "readthedocs.io", "repl.co", "replit.app", "run.app", "sslip.io", "streamlit.app",
    "supabase.co", "surge.sh", "trycloudflare.com", "up.railway.app", "vercel.app", "web.app", "workers.dev",
))  # fmt: skip
"""Hosting, tunnels and clouds whose customers each get a name."""

_LISTED = _SHARED | {f"{label}.{country}" for country, labels in _BELOW_COUNTRIES.items() for label in labels.split()}
_REGION = re.compile(
    r"((a|compute|elb|es|execute-api|lambda-url|s3|s3-website|[a-z]{2}(-[a-z]+)+-?[0-9])\.)+"
    r"(amazonaws\.com|on\.aws|run\.app)"
)  # a region or a service of a cloud, with customers' names below it


def is_public_suffix(suffix: str) -> bool:
    """Whether strangers have names below `suffix`.

    True for every single label but those that nobody can register, for what is listed, and for what a listed name is
    below (`*.azure.com` matches every `NAME.REGION.cloudapp.azure.com`).

    Args:
        suffix: of a wildcard, without `*.`; case does not matter.
    """
    name = suffix.lower()
    if "." not in name:
        return name not in _OWN and not name.isdigit()
    above = any(listed.endswith("." + name) for listed in _LISTED)
    return above or name in _LISTED or _REGION.fullmatch(name) is not None
