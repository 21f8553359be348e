"""People."""

import factory
from factory.django import DjangoModelFactory

from loraforge.accounts.models import ApiToken, Role, User

PASSWORD = "correct horse battery staple"


class UserFactory(DjangoModelFactory):
    class Meta:
        model = User
        skip_postgeneration_save = True

    username = factory.Sequence(lambda number: f"user{number}")
    password = factory.django.Password(PASSWORD)
    role = Role.RESEARCHER

    class Params:
        operator = factory.Trait(role=Role.OPERATOR, is_staff=True)
        admin = factory.Trait(role=Role.ADMIN, is_staff=True)
        viewer = factory.Trait(role=Role.VIEWER)


class ApiTokenFactory(DjangoModelFactory):
    """``text`` is what a program would send."""

    class Meta:
        model = ApiToken
        exclude = ("text",)

    text = factory.Sequence(lambda number: f"{ApiToken.PREFIX}test-{number}")
    owner = factory.SubFactory(UserFactory)
    name = "a program"
    digest = factory.LazyAttribute(lambda token: ApiToken.digest_of(token.text))
