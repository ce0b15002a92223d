-- Statements about datasets: what people gather, and how the packages stand that they became.

-- create: a new dataset of a person (null: an operator's).
insert into dataset (token_id, email, format, contents, size, files)
values (%(person)s::bigint, %(email)s, %(format)s, %(contents)s::jsonb, %(size)s, %(files)s)
returning id;

-- change: other contents for a dataset that was not asked for yet.
update dataset
set email = %(email)s, format = %(format)s, contents = %(contents)s::jsonb, size = %(size)s, files = %(files)s, updated_at = now()
where id = %(id)s
returning id;

-- hold: one dataset of a person (null: whoever's), kept from being changed until the transaction ends.
select id from dataset where id = %(id)s::uuid and (%(person)s::bigint is null or token_id = %(person)s) for no key update;

-- hold_basket: nobody else puts anything into a person's basket until the transaction ends.
select pg_advisory_xact_lock(hashtextextended('tidemill basket', %(person)s::bigint));

-- crowd: how many datasets a person has that were not asked for, and how many they asked for within a day.
select count(*) filter (where started_at is null) as open,
       count(*) filter (where started_at > now() - interval '1 day') as started
from dataset where token_id = %(person)s;

-- alone: whether this transaction may make runs of packages now; somebody else does who plans them for the whole site.
select pg_try_advisory_xact_lock(hashtext('tidemill packages')) as alone;

-- hold_package: a package, kept from being removed until the transaction ends.
select id from item where name = %(name)s and kind = 'package' for update;

-- start: a dataset became this package; one that is there already is kept for its whole time again.
with begun as (
    update dataset d set item_id = i.id, started_at = now(), updated_at = now(), size = %(size)s, files = %(files)s
    from item i where d.id = %(id)s and i.name = %(name)s and i.kind = 'package'
    returning d.id, d.item_id
),
kept as (
    update computed_file f
    set expires_at = greatest(f.expires_at, now() + make_interval(secs => 86400 * coalesce(
        (select (publishing->>'dataset_days')::float8 from site), 7)))
    from begun where f.item_id = begun.item_id and f.replaced_at is null and f.removed_at is null
)
select id from begun;

-- listing: datasets of a person (null: everybody's) or one of them, the newest first, with how their packages stand.
select d.id, d.token_id, d.email, d.format, d.contents as data, d.size, d.files, d.created_at, d.updated_at, d.started_at,
       t.run_id as run, t.state as task_state, t.progress, t.reason, t.finished_at, f.id as file, f.name as file_name,
       f.size as file_size, f.sha256, f.files as file_files, f.created_at as file_created_at,
       case when d.started_at is null then 'open'
            when f.id is not null then 'succeeded'
            when t.id is null then 'failed'
            when t.state in ('failed', 'cancelled') then 'failed'
            when t.state = 'done' and gone.at is not null then 'expired'
            else 'processing' end as state,
       coalesce(f.expires_at, gone.at) as expires_at, f.updated_at as succeeded_at, d.total
from (
    select *, (select count(*) from dataset
               where (%(id)s::uuid is null or id = %(id)s) and (%(person)s::bigint is null or token_id = %(person)s)) as total
    from dataset
    where (%(id)s::uuid is null or id = %(id)s) and (%(person)s::bigint is null or token_id = %(person)s)
    order by created_at desc, id desc
    limit %(limit)s offset %(offset)s
) d
left join lateral (
    select x.id, x.run_id, x.state, x.progress, x.reason, x.finished_at from task x
    where x.item_id = d.item_id order by x.run_id desc limit 1
) t on true
left join computed_file f on f.item_id = d.item_id and f.replaced_at is null and f.removed_at is null
    and (f.expires_at is null or f.expires_at > now())
left join lateral (
    select coalesce(g.expires_at, g.removed_at, g.replaced_at) as at from computed_file g
    where g.item_id = d.item_id and g.task_id = t.id order by g.id desc limit 1
) gone on f.id is null
order by d.created_at desc, d.id desc;

-- drop: a dataset is forgotten; what was built of it goes when its time is over.
delete from dataset where id = %(id)s;

-- prune: forget what was gathered and never asked for within :days days, and what expired a year ago.
delete from dataset d
where d.started_at is null and d.updated_at < now() - make_interval(days => %(days)s)
   or d.started_at < now() - interval '1 year'
      and not exists (select from computed_file f where f.item_id = d.item_id and f.removed_at is null);
