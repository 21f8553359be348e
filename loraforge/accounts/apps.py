from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "loraforge.accounts"
    label = "accounts"
