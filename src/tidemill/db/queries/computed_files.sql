-- Statements about computed files: packages that lie in their stores and can be downloaded.

-- stirred: the packages of which a task was done since the snapshot :seen (null: not asked), if they are no more than :most, and
-- the new snapshot.
with fresh as materialized (
    select distinct c.item_id from change c
    where c.kind = 'task' and c.state = 'done' and c.xid >= pg_snapshot_xmin(%(seen)s::text::pg_snapshot)
      and not pg_visible_in_snapshot(c.xid, %(seen)s::text::pg_snapshot)
      and exists (select from item p where p.kind = 'package')
      and (select i.kind from item i where i.id = c.item_id) = 'package'
    limit %(most)s::int + 1
)
select pg_current_snapshot()::text as seen, coalesce(array_agg(item_id), '{}') as items, count(*) > %(most)s::int as many from fresh;

-- due: packages whose newest result is not what is current, in order, from :after on; of these :items if named. A result of an
-- earlier run than the current one's does not come back, whatever becomes of the newer run; nor does one of a run that a purge has
-- put an end to, nor one whose time was over and whose bytes are gone.
select i.id as item, i.name, t.id as task, a.fence, encode(a.input, 'hex') as plan, encode(a.output, 'hex') as output
from item i
cross join lateral (
    select t.id, t.run_id, t.step from task t
    where t.item_id = i.id and t.state = 'done' and t.run_id > coalesce((i.metadata ->> 'after_run')::bigint, 0)
    order by t.run_id desc limit 1
) t
cross join lateral (
    select a.fence, a.input, a.output from attempt a
    where a.task_id = t.id and a.step = t.step and a.outcome = 'done' and a.superseded_at is null order by a.fence desc limit 1
) a
left join computed_file c on c.item_id = i.id and c.replaced_at is null
left join task b on b.id = c.task_id
where i.kind = 'package' and i.name > %(after)s and (%(items)s::bigint[] is null or i.id = any(%(items)s::bigint[]))
  and (c.task_id, c.fence) is distinct from (t.id, a.fence) and (b.run_id is null or b.run_id <= t.run_id)
  and not exists (select from computed_file o where o.item_id = i.id and o.task_id = t.id and o.fence = a.fence
                  and o.removed_at is not null and o.expires_at < now())
order by i.name limit %(n)s;

-- hold: a package, kept from other registrars and removers until the transaction ends.
select id from item where id = %(item)s and kind = 'package' for update;

-- documents: where the bytes of some documents are.
select encode(sha256, 'hex') as sha256, body, location from document
where sha256 in (select decode(d, 'hex') from json_array_elements_text(%(documents)s::json) d);

-- same: a package was made anew and is what it was: the same object with the same bytes.
update computed_file set task_id = %(task)s, fence = %(fence)s
where item_id = %(item)s and replaced_at is null and store = %(store)s and key = %(key)s and sha256 = %(sha256)s
returning id;

-- replace: a package's current file gives way.
update computed_file set replaced_at = now() where item_id = %(item)s and replaced_at is null
returning id, name, store, key;

-- again: an earlier file of a package is current again, if its bytes are still there.
update computed_file set replaced_at = null, updated_at = now()
where task_id = %(task)s and fence = %(fence)s and removed_at is null
returning id;

-- publish: a package's file is there from now on.
insert into computed_file (item_id, project_id, package, name, store, options, key, size, sha256, etag, fingerprint, attributes,
                           files, task_id, fence, created_at, expires_at)
select %(item)s, (select id from project where name = %(project)s), %(package)s, %(name)s, %(store)s, %(options)s::jsonb,
       %(key)s, %(size)s, %(sha256)s, %(etag)s, %(fingerprint)s, %(attributes)s::jsonb, %(files)s, %(task)s, %(fence)s,
       coalesce((select min(created_at) from computed_file where item_id = %(item)s), now()),
       now() + make_interval(secs => %(expires)s::float8)
returning id;

-- holds: which items a computed file holds.
insert into computed_file_item (computed_file_id, item_id)
select %(file)s, i.id from json_array_elements_text(%(items)s::json) w join item i on i.name = w.value and i.kind = 'item'
on conflict do nothing;

-- tell: a package was published, or is no longer to be had: a change of its own in the feed.
with noted as (
    insert into change (kind, item_id, state) values ('package', %(item)s, %(state)s)
)
select pg_notify('tidemill_work', 'computed'), pg_notify('tidemill_change', '');

-- doomed: files whose bytes are to go now: replaced longer ago than :keep seconds, or expired, and at once those below :store; or
-- those of these :ids alone, at once.
select c.id, c.item_id as item, c.name, c.store, c.options, c.key, c.size
from computed_file c
where c.removed_at is null and c.id > %(after)s
  and case when %(ids)s::bigint[] is not null then c.replaced_at is not null and c.id = any(%(ids)s::bigint[])
           else c.replaced_at < now() - make_interval(secs => %(keep)s::float8)
                or c.replaced_at is not null and starts_with(c.store, %(store)s::text)
                or c.expires_at < now() end
order by c.id limit %(n)s;

-- bystanders: what keeps the bytes of a doomed file: another row that names the same object and may be fetched yet, or a task of
-- its package that may be about to write it.
select (select count(*) from computed_file o
        where o.store = c.store and o.key = c.key and o.id <> c.id and o.removed_at is null
          and (o.replaced_at is null or o.replaced_at >= now() - make_interval(secs => %(keep)s::float8))
          and (o.expires_at is null or o.expires_at > now())) as named,
       (select count(*) from task t where t.item_id = c.item_id and t.state in ('waiting', 'running', 'submitted')) as open
from computed_file c
where c.id = %(file)s and c.removed_at is null and (c.replaced_at is not null or c.expires_at < now());

-- hold_tasks: a package's tasks, kept from being begun anew until the transaction ends.
select id from task where item_id = %(item)s order by id for no key update;

-- removed: the bytes of a file are gone.
update computed_file set removed_at = now(), replaced_at = coalesce(replaced_at, now()) where id = %(file)s;

-- listing: packages in order of name, each with its current file where it has one, and (:replaced) those before, newest first; of
-- some projects or one :item if named. Its state says what is to be known of it first. What stands in a
-- locked project is not left over, as left_over.count has it.
select c.id, i.name, i.id as item_id, coalesce(c.package, i.metadata ->> 'package') as package,
       coalesce(p.name, i.metadata ->> 'project') as project, c.size, c.sha256, c.fingerprint, c.store, c.key, c.files,
       coalesce(c.attributes, i.metadata -> 'attributes', '{}') as attributes, c.created_at, c.updated_at, c.replaced_at,
       c.removed_at, c.expires_at, c.downloads, c.task_id as task, c.fence, made.run_id as run,
       newest.run_id as newest_run, newest.reason, unwanted.why as left_over,
       case when c.removed_at is not null then 'removed'
            when c.replaced_at is not null and made.run_id <= (i.metadata ->> 'after_run')::bigint then 'retired'
            when c.replaced_at is not null then 'replaced'
            when newest.state in ('waiting', 'running', 'submitted') then 'being built'
            when newest.state = 'done' and c.id is null and result.over then 'expired'
            when newest.state = 'done' and result.fence is not null
                 and newest.run_id > coalesce((i.metadata ->> 'after_run')::bigint, 0) and (c.id is null or made.run_id <= newest.run_id)
                 and (newest.id, result.fence) is distinct from (c.task_id, c.fence) then 'being checked'
            when c.expires_at < now() then 'expired'
            when unwanted.why is not null and (c.id is not null or newest.run_id > coalesce((i.metadata ->> 'after_run')::bigint, 0))
                 then 'left over'
            when newest.state = 'failed' then 'failed'
            when c.id is null and newest.run_id <= (i.metadata ->> 'after_run')::bigint then 'purged'
            when c.id is null then 'missing'
            when c.fingerprint is distinct from i.metadata ->> 'fingerprint' then 'outdated'
            else 'current' end as state
from item i
left join computed_file c on c.item_id = i.id and (%(replaced)s or c.replaced_at is null)
left join project p on p.id = c.project_id
left join task made on made.id = c.task_id
left join lateral (
    select t.id, t.step, t.state, t.run_id, t.reason from task t where t.item_id = i.id order by t.run_id desc limit 1
) newest on true
left join lateral (
    select a.fence, exists (select from computed_file o where o.item_id = i.id and o.task_id = newest.id and o.fence = a.fence
                            and o.removed_at is not null and o.expires_at < now()) as over
    from attempt a
    where a.task_id = newest.id and a.step = newest.step and a.outcome = 'done' and a.superseded_at is null
    order by a.fence desc limit 1
) result on true
cross join lateral (
    select case when i.metadata ->> 'package' = 'dataset' or c.replaced_at is not null then null
                when not exists (select from site s
                                 where s.packages @> jsonb_build_array(jsonb_build_object('name', i.metadata -> 'package')))
                then 'the site file declares no package ''' || (i.metadata ->> 'package') || ''' any more'
                else i.metadata ->> 'left_over' end as why
) seems
cross join lateral (
    select case when seems.why is null or not exists (select from project where locked) then seems.why
                when exists (select from project k where k.locked and k.name = i.metadata ->> 'project') then null
                when exists (select from jsonb_array_elements_text(i.metadata -> 'items') held(name)
                             join item m on m.name = held.name and m.kind = 'item' join project_item x on x.item_id = m.id
                             join project k on k.id = x.project_id where k.locked) then null
                else seems.why end as why
) unwanted
where i.kind = 'package' and (%(left_over)s is not true or unwanted.why is not null)
  and (%(replaced)s or c.id is not null or newest.run_id > coalesce((i.metadata ->> 'after_run')::bigint, 0))
  and (%(projects)s::text[] is null or i.metadata ->> 'project' = any(%(projects)s))
  and (%(item)s::text is null or i.name = %(item)s)
order by i.name, c.replaced_at desc nulls first, c.id desc
limit %(limit)s offset %(offset)s;

-- standing: files that are to be had, in order of their ids from :after on; of some projects if named.
select c.id as file, c.name, p.name as project, c.store, c.options, c.key, c.size
from computed_file c left join project p on p.id = c.project_id
where c.replaced_at is null and c.removed_at is null and (c.expires_at is null or c.expires_at > now()) and c.id > %(after)s
  and (%(projects)s::text[] is null or p.name = any(%(projects)s))
order by c.id limit %(n)s;

-- get: one computed file by its id, with the items that it holds.
select c.id, c.name, i.name as item, c.package, p.name as project, c.store, c.key, c.size, c.sha256, c.etag, c.fingerprint,
       c.attributes, c.files, c.task_id as task, c.fence, t.run_id as run, c.created_at, c.updated_at, c.replaced_at,
       c.removed_at, c.expires_at, c.downloads,
       (select coalesce(json_agg(o.name order by o.name), '[]') from computed_file_item x join item o on o.id = x.item_id
        where x.computed_file_id = c.id) as items
from computed_file c
left join item i on i.id = c.item_id
left join project p on p.id = c.project_id
left join task t on t.id = c.task_id
where c.id = %(id)s;

-- manifest: the document in which the builder of a computed file says what is in it.
select c.name, c.files, encode(d.sha256, 'hex') as sha256, d.body, d.location
from computed_file c
left join attempt a on a.task_id = c.task_id and a.fence = c.fence
left join document d on d.sha256 = a.output
where c.id = %(id)s;

-- in_hand: the packages of a project that are being made, or are to be.
select i.name, t.id as task, t.run_id as run from item i join task t on t.item_id = i.id
where i.kind = 'package' and i.metadata ->> 'project' = %(project)s and t.state in ('waiting', 'running', 'submitted')
order by i.name, t.run_id;

-- retire: no result of a run that there is counts any longer for the packages of a project.
with retired as (
    update item i
    set metadata = i.metadata || jsonb_build_object('after_run', (select max(t.run_id) from task t where t.item_id = i.id))
    where i.kind = 'package' and i.metadata ->> 'project' = %(project)s
      and exists (select from task t where t.item_id = i.id)
    returning i.id
)
insert into change (kind, item_id, state) select 'package', id, 'purged' from retired;

-- let_go: the files of a project's packages are no longer to be had; their bytes go next.
update computed_file c set project_id = null, replaced_at = coalesce(c.replaced_at, now())
from project p where p.name = %(project)s and c.project_id = p.id and c.removed_at is null
returning c.id;

-- totals: how many packages there are, how many of them have a current file, and their bytes.
select (select count(*) from item i
        where i.kind = 'package'
          and (not i.metadata ? 'after_run' or exists (select from computed_file o where o.item_id = i.id and o.replaced_at is null)
               or exists (select from task t where t.item_id = i.id and t.run_id > (i.metadata ->> 'after_run')::bigint))) as packages,
       count(*) as current, coalesce(sum(size), 0)::bigint as size
from computed_file where replaced_at is null and item_id is not null;

-- unknown_projects: which of these names are no project's.
select w.value as name from json_array_elements_text(%(names)s::json) w
where not exists (select from project p where p.name = w.value) order by 1;
