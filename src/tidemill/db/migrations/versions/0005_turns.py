"""Claims of workers behind a firewall that are overtaken on the way come too late.

Revision: 0005, after 0004.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    op.add_column("worker", sa.Column("turn", sa.BigInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    op.drop_column("worker", "turn")
