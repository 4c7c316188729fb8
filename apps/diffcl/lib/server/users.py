"""Who may come in, by MONAI Label's settings, and who asks, in MONAI Label's words."""

from __future__ import annotations

from pathlib import Path

from fastapi import Request
from monailabel.config import settings
from monailabel.endpoints.user import auth

from diffcl.access.oidc import OidcUsers, Realm
from diffcl.access.roles import Role, User
from diffcl.access.tokens import LocalUsers
from diffcl.access.users import UserFile
from diffcl.web.login import Users


def users() -> Users | None:
    """Those who may come in: of a file, of a provider, or None where nobody has to log in.

    Raises:
        DiffclError: If the file cannot be used.
    """
    file = settings.MONAI_LABEL_APP_CONF.get("users")
    if file:
        return LocalUsers(UserFile(Path(file)))
    if not settings.MONAI_LABEL_AUTH_ENABLE:
        return None
    roles = {
        settings.MONAI_LABEL_AUTH_ROLE_USER: Role.READER,
        settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR: Role.ANNOTATOR,
        settings.MONAI_LABEL_AUTH_ROLE_REVIEWER: Role.REVIEWER,
        settings.MONAI_LABEL_AUTH_ROLE_ADMIN: Role.ADMIN,
    }
    url, client = settings.MONAI_LABEL_AUTH_REALM_URI, settings.MONAI_LABEL_AUTH_CLIENT_ID
    name, role = settings.MONAI_LABEL_AUTH_TOKEN_USERNAME, settings.MONAI_LABEL_AUTH_TOKEN_ROLES
    return OidcUsers(Realm(url, client, name, role, roles, settings.MONAI_LABEL_AUTH_TIMEOUT))


def who_asks(request: Request) -> auth.User:
    """Who asks. Whether they may was decided before, so all of MONAI Label's roles are theirs."""
    user: User | None = getattr(request.state, "user", None)
    return auth.User(username=user.name if user else "", roles=auth.DEFAULT_USER.roles)
