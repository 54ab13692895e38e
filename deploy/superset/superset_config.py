# The settings of the Superset that `make dashboards` starts on this machine, and an example for
# others. scripts/dashboards.py sets the variables.
import os

SECRET_KEY = os.environ["SUPERSET_SECRET_KEY"]
SQLALCHEMY_DATABASE_URI = "sqlite:///" + os.path.join(os.environ["SUPERSET_HOME"], "superset.db")

# The statements of textback's datasets have the time of the dashboard in them. Who may edit
# datasets and charts can then write templates that the server runs, so give those rights to people
# whom you trust with it.
FEATURE_FLAGS = {"ENABLE_TEMPLATE_PROCESSING": True}

# Superset listens on this machine only, and its cookie is of this machine.
TALISMAN_ENABLED = False
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_NAME = "textback_superset"
CONTENT_SECURITY_POLICY_WARNING = False
# The default warns that it counts in memory, which is right for one process.
RATELIMIT_STORAGE_URI = "memory://"
