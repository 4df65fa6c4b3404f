"""A shop in Django REST framework and Django OAuth Toolkit, in one file.

    python shop.py PORT DATABASE

Runs in an environment that has them, not in syncd's.  It makes its tables, accounts and
records anew, and serves until it is stopped.  Nothing of paging, tokens or OAuth is its own.
"""

import datetime as dt
import json
import os
import sys

import django
from django.conf import settings

port, database = int(sys.argv[1]), sys.argv[2]

settings.configure(
    SECRET_KEY="not-a-secret",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": database,
            "OPTIONS": {"timeout": 30, "transaction_mode": "IMMEDIATE"},
        }
    },
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "rest_framework",
        "rest_framework.authtoken",
        "oauth2_provider",
    ],
    OAUTH2_PROVIDER={
        "ROTATE_REFRESH_TOKEN": True,
        "REFRESH_TOKEN_REUSE_PROTECTION": True,
        "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": 0,
        "ACCESS_TOKEN_EXPIRE_SECONDS": 3600,
        "PKCE_REQUIRED": False,
    },
    REST_FRAMEWORK={"DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"]},
)
django.setup()

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, models
from django.urls import include, path
from django.utils import timezone
from oauth2_provider.contrib.rest_framework import OAuth2Authentication, TokenHasReadWriteScope
from oauth2_provider.models import AccessToken, Application, RefreshToken
from rest_framework import pagination, routers, serializers, viewsets
from rest_framework.authentication import TokenAuthentication
from rest_framework.authtoken.models import Token
from rest_framework.permissions import IsAuthenticated


class Thing(models.Model):
    sku = models.CharField(max_length=20)
    name = models.CharField(max_length=200)
    price = models.DecimalField(max_digits=12, decimal_places=2)
    stock = models.IntegerField()
    active = models.BooleanField()
    since = models.DateField()
    note = models.TextField(null=True)
    tags = models.JSONField()
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        app_label = "shop"


class ThingSerializer(serializers.ModelSerializer):
    class Meta:
        model = Thing
        fields = "__all__"


class ByPage(pagination.PageNumberPagination):
    page_size = 20
    page_size_query_param = "page_size"
    max_page_size = 200


class ByCursor(pagination.CursorPagination):
    page_size = 30
    ordering = "id"


class ByOffset(pagination.LimitOffsetPagination):
    default_limit = 40
    max_limit = 50


class Things(viewsets.ModelViewSet):
    """count, next, previous; a token in the Authorization header."""

    queryset = Thing.objects.order_by("id")
    serializer_class = ThingSerializer
    pagination_class = ByPage
    authentication_classes = [TokenAuthentication]
    permission_classes = [IsAuthenticated]


class ThingsByCursor(Things):
    pagination_class = ByCursor


class ThingsByOffset(Things):
    pagination_class = ByOffset


class ThingsOfClients(Things):
    """The same, for whoever has an access token of OAuth 2.0."""

    authentication_classes = [OAuth2Authentication]
    permission_classes = [TokenHasReadWriteScope]


router = routers.DefaultRouter()
router.register("things", Things, basename="things")
router.register("by-cursor", ThingsByCursor, basename="by-cursor")
router.register("by-offset", ThingsByOffset, basename="by-offset")
router.register("clients", ThingsOfClients, basename="clients")

urlpatterns = [
    path("api/", include(router.urls)),
    path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
]


def fill() -> None:
    """Tables, accounts, their credentials, and the records that stand in $SHOP_RECORDS."""
    call_command("migrate", verbosity=0, run_syncdb=True)
    with connection.schema_editor() as editor:
        editor.create_model(Thing)
    user = User.objects.create_user("founder")
    Token.objects.create(user=user, key=os.environ["SHOP_TOKEN"])
    about = {"name": "syncd", "hash_client_secret": False, "user": user}
    client = Application.objects.create(
        client_id="syncd",
        client_secret=os.environ["SHOP_CLIENT_SECRET"],
        client_type=Application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
        redirect_uris="http://127.0.0.1/back",
        **about,
    )
    Application.objects.create(
        client_id="robot",
        client_secret=os.environ["SHOP_CLIENT_SECRET"],
        client_type=Application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=Application.GRANT_CLIENT_CREDENTIALS,
        **about,
    )
    # As if a person had just said yes in a browser: what the first exchange would have given.
    access = AccessToken.objects.create(
        user=user,
        application=client,
        token=os.environ["SHOP_ACCESS_TOKEN"],
        scope="read write",
        expires=timezone.now() + dt.timedelta(hours=1),
    )
    RefreshToken.objects.create(
        user=user, application=client, token=os.environ["SHOP_REFRESH_TOKEN"], access_token=access
    )
    with open(os.environ["SHOP_RECORDS"], encoding="utf-8") as file:
        Thing.objects.bulk_create(Thing(**values) for values in json.load(file))


if __name__ == "__main__":
    from django.core.wsgi import get_wsgi_application
    from waitress import serve

    fill()
    serve(get_wsgi_application(), host="127.0.0.1", port=port, threads=2)
