-- Statements about people who download: their tokens, and the terms that they accept. Of a token only the SHA-256 is here.

-- current: the terms that the site names, if it names any.
select t.version, t.body, t.created_at
from site s join terms t on t.version = s.portal->'terms'->>'version';

-- versions: all versions of the terms that there were, the newest first, with how many good tokens accepted each.
select t.version, t.body, t.created_at,
       (select count(*) from token k where k.terms = t.version and k.revoked_at is null) as accepted
from terms t order by t.created_at desc, t.version desc;

-- publish: keep a version of the terms; what was kept under this version stays as it was accepted.
insert into terms (version, body) values (%(version)s, %(body)s) on conflict (version) do nothing;

-- kept: the text of one version.
select body from terms where version = %(version)s;

-- lock: let nobody else ask for a token until this transaction ends.
select pg_advisory_xact_lock(hashtext('people'));

-- crowd: how many tokens people asked for within the last hour: in all, for one address, and one caller.
select count(*) as every, count(*) filter (where lower(email) = lower(%(email)s)) as email,
       count(*) filter (where caller <> '' and caller = %(caller)s) as caller
from token where role = 'downloader' and created_at > now() - interval '1 hour';

-- join: a new token for a person; one that is not activated lasts :days days.
with counts as (select version from site s join terms t on t.version = s.portal->'terms'->>'version')
insert into token (name, role, email, sha256, caller, terms, accepted_at, expires_at)
select null, 'downloader', %(email)s, %(sha256)s, %(caller)s,
       case when %(accepted)s then (select version from counts) end,
       case when %(accepted)s then now() end,
       case when not %(accepted)s then now() + make_interval(days => %(days)s) end
returning id, email, terms, accepted_at, (select version from counts) as wanted, created_at;

-- holder: the person whose token has this checksum, if it is good now; that it was used is noted once a minute.
with good as materialized (
    select id, email, terms, accepted_at, created_at, used_at from token
    where sha256 = %(sha256)s and role = 'downloader' and revoked_at is null
      and (expires_at is null or expires_at > now())
),
used as (
    update token t set used_at = now() from good
    where t.id = good.id and (good.used_at is null or good.used_at < now() - interval '1 minute')
)
select g.id, g.email, g.terms, g.accepted_at, g.created_at,
       (select version from site s join terms t on t.version = s.portal->'terms'->>'version') as wanted
from good g;

-- accept: its holder accepts the terms as they are now, or takes that back; who has accepted these keeps the time.
with counts as (select version from site s join terms t on t.version = s.portal->'terms'->>'version'),
held as (
    select k.id, %(accepted)s and k.accepted_at is not null
           and k.terms is not distinct from (select version from counts) as stays
    from token k
    where k.sha256 = %(sha256)s and k.role = 'downloader' and k.revoked_at is null
      and (k.expires_at is null or k.expires_at > now())
    for no key update
)
update token k
set email = coalesce(%(email)s, k.email),
    terms = case when %(accepted)s is null then k.terms when %(accepted)s then (select version from counts) end,
    accepted_at = case when %(accepted)s is null or held.stays then k.accepted_at when %(accepted)s then now() end,
    expires_at = case when %(accepted)s is null then k.expires_at
                      when not %(accepted)s then now() + make_interval(days => %(days)s) end
from held where k.id = held.id
returning k.id, k.email, k.terms, k.accepted_at, k.created_at, (select version from counts) as wanted;

-- revoke: end a person's token, by its number or its checksum; one that was ended before stays as it is.
update token set revoked_at = coalesce(revoked_at, now())
where role = 'downloader' and (id = %(id)s::bigint or sha256 = %(sha256)s::bytea)
returning id, email, terms, accepted_at, created_at, revoked_at;

-- revoke_all: end all tokens of one address.
update token set revoked_at = now() where role = 'downloader' and lower(email) = lower(%(email)s) and revoked_at is null
returning id, email, terms, accepted_at, created_at, revoked_at;

-- listing: a page of people's tokens, the newest first, with what each downloaded.
select k.id, k.email, k.terms, k.accepted_at, k.created_at, k.used_at, k.expires_at, k.revoked_at,
       case when k.revoked_at is not null then 'revoked' when k.expires_at <= now() then 'expired'
            when k.accepted_at is null then 'not activated' else 'good' end as state,
       (select count(*) from download d where d.token_id = k.id) as downloads
from token k
where k.role = 'downloader' and (%(email)s::text is null or lower(k.email) = lower(%(email)s))
  and (%(before)s::bigint is null or k.id < %(before)s)
order by k.id desc limit %(limit)s;

-- count: how many tokens of people have not ended.
select count(*) as tokens from token
where role = 'downloader' and revoked_at is null and (expires_at is null or expires_at > now());

-- prune: remove what was never activated and has expired.
delete from token where role = 'downloader' and accepted_at is null and expires_at < now();
