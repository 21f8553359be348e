import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("instances", "0001_initial"), ("artifacts", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="BestCheckpoint",
            fields=[
                (
                    "attempt",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="best_checkpoint",
                        serialize=False,
                        to="instances.attempt",
                    ),
                ),
                ("step", models.PositiveBigIntegerField()),
                ("metric", models.FloatField(blank=True, null=True)),
            ],
        ),
    ]
