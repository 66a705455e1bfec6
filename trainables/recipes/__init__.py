"""How networks are made: schedules of compression levels, and the recipes built on them."""
