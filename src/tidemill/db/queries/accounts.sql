-- Statements about tokens. Of a token only the SHA-256 is here.

-- create: a new token, unless one of that name is there; :expires is seconds from now, or null for never.
insert into token (name, sha256, role, limits, expires_at)
values (%(name)s, %(sha256)s, %(role)s, %(limits)s, now() + make_interval(secs => %(expires)s::float8))
on conflict (name) do nothing
returning id, name, role, limits, created_at, expires_at, used_at, revoked_at;

-- renew: another secret for a token, which is good again; what its workers have in hand stays theirs.
update token
set sha256 = %(sha256)s, revoked_at = null, expires_at = now() + make_interval(secs => %(expires)s::float8)
where name = %(name)s
returning id, name, role, limits, created_at, expires_at, used_at, revoked_at;

-- listing: all tokens but people's, by name, with whether each is good now.
select id, name, role, limits, created_at, expires_at, used_at, revoked_at,
       case when revoked_at is not null then 'revoked' when expires_at <= now() then 'expired' else 'good' end as state,
       (select count(*) from worker w where w.token_id = token.id and w.stopped_at is null
          and w.seen_at > now() - interval '1 minute') as workers
from token where role <> 'downloader' order by name;

-- revoke: a token is good no longer; one that was revoked before stays as it is.
update token set revoked_at = coalesce(revoked_at, now()) where name = %(name)s
returning id, name, role, limits, created_at, expires_at, used_at, revoked_at;

-- holder: the token with this checksum, if it is good now; that it was used is noted once a minute.
with good as materialized (
    select id, name, email, role, limits, used_at from token
    where sha256 = %(sha256)s and revoked_at is null and (expires_at is null or expires_at > now())
),
used as (
    update token t set used_at = now() from good
    where t.id = good.id and (good.used_at is null or good.used_at < now() - interval '1 minute')
)
select id, coalesce(name, email) as name, role, limits from good;

-- unknown_apps: which of these names are no app's.
select name from unnest(%(apps)s::text[]) as name where not exists (select from app a where a.name = name.name) order by 1;
