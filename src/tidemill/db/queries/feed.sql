-- Statements of the change feed. A position is (xid, id): ids alone do not tell in which order transactions commit.
-- Names of items, projects and steps are looked up row by row: a join might read all items for a page of ten changes.

-- plan: plan the statements of this transaction for what they are given, since half of their conditions are switched off at
-- a time; and by index, since what they look for is a small part of what is there whatever was there at the last analyze.
select set_config('plan_cache_mode', 'force_custom_plan', true), set_config('enable_seqscan', 'off', true);

-- elsewhere: the transactions under way in other databases of the server, as they are now and not when this transaction
-- first asked. It is asked before the snapshot of `now` is taken: one that ended in between would not be known any more,
-- and one that began in between is younger than all that was committed before.
select coalesce(array_agg(backend_xid::text), '{}') as elsewhere from pg_stat_activity
where (select pg_stat_clear_snapshot()::text) is not null and datname <> current_database() and backend_xid is not null;

-- now: the first transaction of this database that may still write changes, and the newest change before it: where one
-- goes on who reads any state after this. Transactions known to be of other databases (:elsewhere) do not count.
with snapshot as materialized (
    select pg_current_snapshot() as seen
),
horizon as (
    select coalesce((
               select min(open.xid::text::numeric)::text::xid8 from pg_snapshot_xip(snapshot.seen) open(xid)
               where open.xid::xid::text <> all(%(elsewhere)s::text[])
           ), pg_snapshot_xmax(snapshot.seen)) as xid
    from snapshot
)
select horizon.xid::text as before, coalesce(newest.seq, '0-0') as seq, pg_snapshot_xmax(snapshot.seen)::text as next_xid
from snapshot, horizon
left join lateral (
    select c.xid::text || '-' || c.id as seq from change c where c.xid < horizon.xid order by c.xid desc, c.id desc limit 1
) newest on true;

-- floor: up to where the feed has been pruned; no row where it never was.
select seq, updated_at from floor;

-- read: changes between two positions, in order, of some kinds or of one run.
with page as materialized (
    select c.* from change c
    where (c.xid, c.id) > (%(xid)s::text::xid8, %(id)s::bigint) and (c.xid, c.id) < (%(to_xid)s::text::xid8, %(to_id)s::bigint)
      and (%(run)s::bigint is null or c.run_id = %(run)s) and (%(kinds)s::text[] is null or c.kind = any(%(kinds)s))
    order by c.xid, c.id
    limit %(limit)s
)
select p.xid::text as xid, p.id, p.kind, p.run_id, p.task_id, p.item_id, p.project_id, p.position, p.step, p.state, p.at,
       coalesce((select i.name from item i where i.id = p.item_id), p.name) as item,
       (select j.name from project j where j.id = p.project_id) as project,
       (select s.name from run r join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = p.step
        where r.id = p.run_id) as step_name
from page p order by p.xid, p.id;

-- chunk: the position of the :most-th change after a position; no row where there are fewer.
select c.xid::text as xid, c.id from change c
where (c.xid, c.id) > (%(xid)s::text::xid8, %(id)s::bigint) and (c.xid, c.id) < (%(to_xid)s::text::xid8, %(to_id)s::bigint)
order by c.xid, c.id
offset %(most)s - 1 limit 1;

-- pending: how many changes of any kind lie between two positions, counted up to :most.
select count(*) as changes from (
    select from change c
    where (c.xid, c.id) > (%(xid)s::text::xid8, %(id)s::bigint) and (c.xid, c.id) < (%(to_xid)s::text::xid8, %(to_id)s::bigint)
    limit %(most)s
) rest;

-- scan: changes of a stretch of the feed whose item's record, as it is now, matches.
with span as materialized (
    select c.* from change c
    where (c.xid, c.id) > (%(xid)s::text::xid8, %(id)s::bigint) and (c.xid, c.id) < (%(to_xid)s::text::xid8, %(to_id)s::bigint)
      and (%(run)s::bigint is null or c.run_id = %(run)s) and (%(kinds)s::text[] is null or c.kind = any(%(kinds)s))
      and c.item_id is not null
),
found as materialized (
    select m.id
    from (select distinct item_id from span) d
    cross join lateral (
        select i.id from item i
        where i.id = d.item_id and (%(packages)s or i.kind = 'item')
          and (%(statuses)s::text[] is null or i.status = any(%(statuses)s))
          and (%(names)s::text[] is null or i.name = any(%(names)s))
          and (%(fields)s::jsonb[] is null or i.metadata @> any(%(fields)s::jsonb[]))
          and (%(projects)s::bigint[] is null or exists (
              select from project_item x
              where x.item_id = i.id and x.project_id = any(%(projects)s::bigint[])))
        offset 0
    ) m
    where %(last_steps)s::text[] is null
       or coalesce((select l.name from last_step(m.id) l), '') = any(%(last_steps)s)
)
select p.xid::text as xid, p.id, p.kind, p.run_id, p.task_id, p.item_id, p.project_id, p.position, p.step, p.state, p.at,
       (select i.name from item i where i.id = p.item_id) as item,
       (select j.name from project j where j.id = p.project_id) as project,
       (select s.name from run r join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = p.step
        where r.id = p.run_id) as step_name
from (
    -- Within `case` it is a look into a hash; else the planner, who cannot know how many there are, may compare all with all.
    select p.* from span p where case when p.item_id in (select f.id from found f) then true end
    order by p.xid, p.id limit %(limit)s
) p
order by p.xid, p.id;

-- among: changes of these items between two positions, in order: one look at the index per item says which come first.
with first as materialized (
    select w.id as item_id, f.xid, f.id
    from unnest(%(ids)s::bigint[]) w(id)
    cross join lateral (
        select c.xid, c.id from change c
        where c.item_id = w.id
          and (c.xid, c.id) > (%(xid)s::text::xid8, %(id)s::bigint) and (c.xid, c.id) < (%(to_xid)s::text::xid8, %(to_id)s::bigint)
          and (%(run)s::bigint is null or c.run_id = %(run)s) and (%(kinds)s::text[] is null or c.kind = any(%(kinds)s))
        order by c.xid, c.id limit 1
    ) f
),
bound as materialized (
    select b.xid, b.id from (
        (select 0 as place, xid, id from first order by xid, id offset %(limit)s - 1 limit 1)
        union all
        select 1, %(to_xid)s::text::xid8, %(to_id)s::bigint
    ) b order by b.place limit 1
),
page as materialized (
    select p.* from first f
    cross join lateral (
        select c.* from change c
        where c.item_id = f.item_id
          and (c.xid, c.id) >= (f.xid, f.id) and (c.xid, c.id) <= (select b.xid, b.id from bound b)
          and (c.xid, c.id) < (%(to_xid)s::text::xid8, %(to_id)s::bigint)
          and (%(run)s::bigint is null or c.run_id = %(run)s) and (%(kinds)s::text[] is null or c.kind = any(%(kinds)s))
        order by c.xid, c.id limit %(limit)s
    ) p
    where (f.xid, f.id) <= (select b.xid, b.id from bound b)
    order by p.xid, p.id limit %(limit)s
)
select p.xid::text as xid, p.id, p.kind, p.run_id, p.task_id, p.item_id, p.project_id, p.position, p.step, p.state, p.at,
       (select i.name from item i where i.id = p.item_id) as item,
       (select j.name from project j where j.id = p.project_id) as project,
       (select s.name from run r join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = p.step
        where r.id = p.run_id) as step_name
from page p order by p.xid, p.id;

-- projects: the projects of these names.
select id from project where name = any(%(names)s::text[]);

-- matching: the items whose records match now by name, status, field or project, in order of id; whatever their last step.
select i.id from item i
where i.id > %(after)s and i.kind = 'item'
  and (%(statuses)s::text[] is null or i.status = any(%(statuses)s))
  and (%(names)s::text[] is null or i.name = any(%(names)s))
  and (%(fields)s::jsonb[] is null or i.metadata @> any(%(fields)s::jsonb[]))
  and (%(projects)s::bigint[] is null or i.id in (
      select x.item_id from project_item x where x.project_id = any(%(projects)s::bigint[])))
order by i.id
limit %(most)s;

-- few: the same in any order, so that the smallest set that an index knows may be gone through first; at most :most. With
-- :packages they are among them.
select i.id from item i
where (%(packages)s or i.kind = 'item')
  and (%(statuses)s::text[] is null or i.status = any(%(statuses)s))
  and (%(names)s::text[] is null or i.name = any(%(names)s))
  and (%(fields)s::jsonb[] is null or i.metadata @> any(%(fields)s::jsonb[]))
  and (%(projects)s::bigint[] is null or i.id in (
      select x.item_id from project_item x where x.project_id = any(%(projects)s::bigint[])))
limit %(most)s;

-- narrow: those of these items whose last step is one of :last_steps; an empty name stands for nothing done.
select w.id from unnest(%(ids)s::bigint[]) w(id)
where (%(packages)s or exists (select from item i where i.id = w.id and i.kind = 'item'))
  and coalesce((select l.name from last_step(w.id) l), '') = any(%(last_steps)s::text[]) order by w.id;

-- records: these items as they are now, in order of id.
select i.id, i.name, i.status, i.status_reason, i.metadata, i.revision, i.created_at, i.updated_at,
       coalesce((select json_agg(j.name order by j.name) from project_item x join project j on j.id = x.project_id
                 where x.item_id = i.id), '[]') as projects,
       (select l.name from last_step(i.id) l) as last_step
from unnest(%(ids)s::bigint[]) w(id)
cross join lateral (select * from item i where i.id = w.id offset 0) i
order by i.id;

-- processes: what was done to these items, a line per step, oldest first; what another system did comes before (`past`).
select * from (
    select p.item_id, p.name, p.details ->> 'app' as app, p.details ->> 'version' as version,
           p.details ->> 'hostname' as hostname, null::jsonb as parameters, null::timestamptz as started_at, p.finished_at,
           null as output, null::bigint as run_id, null::bigint as task_id, null::int as fence, false as reused, true as past,
           p.details, p.position as step, null::jsonb as files, null::jsonb as inputs
    from past_step p where p.item_id = any(%(ids)s::bigint[])
    union all
    select t.item_id, s.name, p.name, v.version, w.hostname, a.parameters, a.started_at, a.finished_at,
           encode(a.output, 'hex'), t.run_id, a.task_id, a.fence, a.origin_task_id is not null, false, null, a.step,
           coalesce(a.files, o.files), coalesce(a.inputs, o.inputs)
    from unnest(%(ids)s::bigint[]) wanted(id)
    cross join lateral (select * from task t where t.item_id = wanted.id offset 0) t
    cross join lateral (
        select * from attempt a where a.task_id = t.id and a.outcome = 'done' and a.superseded_at is null offset 0
    ) a
    left join attempt o on o.task_id = a.origin_task_id and o.fence = a.origin_fence
    join run r on r.id = t.run_id
    join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = a.step
    left join app_version v on v.id = a.app_version_id
    left join app p on p.id = coalesce(v.app_id, s.app_id)
    left join worker w on w.id = a.worker_id
) entries
order by item_id, past desc, case when past then step end, finished_at, task_id, step;

-- stands: where these tasks stand now.
select t.id, t.state, t.step from task t where t.id = any(%(tasks)s::bigint[]);

-- cursors: the readers whose position is kept here, with how much lies before each, counted up to :most.
select c.name, c.seq, c.updated_at,
       extract(epoch from now() - c.updated_at)::float8 as seconds,
       coalesce((split_part(c.seq, '-', 1)::xid8, split_part(c.seq, '-', 2)::bigint) <
                (select split_part(f.seq, '-', 1)::xid8, split_part(f.seq, '-', 2)::bigint from floor f), false) as lost,
       (select count(*) from (
           select from change h
           where (h.xid, h.id) > (split_part(c.seq, '-', 1)::xid8, split_part(c.seq, '-', 2)::bigint) limit %(most)s) rest
       ) as pending
from consumer c
where %(name)s::text is null or c.name = %(name)s
order by c.name;

-- acknowledge: move a reader's position forward, or where it is asked for back; no row comes where it stays as it was.
insert into consumer as c (name, seq) values (%(name)s, %(seq)s)
on conflict (name) do update set seq = excluded.seq, updated_at = now()
where (split_part(excluded.seq, '-', 1)::xid8, split_part(excluded.seq, '-', 2)::bigint) >
      (split_part(c.seq, '-', 1)::xid8, split_part(c.seq, '-', 2)::bigint)
   or (%(rewind)s and excluded.seq <> c.seq)
returning c.seq;

-- forget: keep this reader's position no longer.
delete from consumer where name = %(name)s returning name;

-- held_back: readers that have stood still since before a time, and changes older than that which only they still need.
select c.name, c.seq, c.updated_at from consumer c
where c.updated_at < now() - make_interval(days => %(days)s)
  and exists (select from change h
              where (h.xid, h.id) > (split_part(c.seq, '-', 1)::xid8, split_part(c.seq, '-', 2)::bigint))
order by c.name;

-- prune: remove the oldest changes, at most :most, that are older than :days and that no reader or watching run may need.
with kept as materialized (
    select k.xid, k.id from (
        select split_part(c.seq, '-', 1)::numeric as xid, split_part(c.seq, '-', 2)::numeric as id
        from consumer c where c.updated_at > now() - make_interval(days => greatest(%(days)s::int, %(stale)s::int))
        union all
        select pg_snapshot_xmin(w.seen::pg_snapshot)::text::numeric, 0
        from watch w join run r on r.id = w.run_id and r.state = 'active' where w.seen is not null
        union all
        select %(before)s::text::numeric, 0
    ) k order by k.xid, k.id limit 1
),
oldest as materialized (
    select c.xid, c.id, bool_and(c.at < now() - make_interval(days => %(days)s::int)) over (order by c.xid, c.id) as old
    from (select * from change order by xid, id limit %(most)s) c
),
gone as materialized (
    select o.xid, o.id from oldest o, kept where o.old and (o.xid::text::numeric, o.id::numeric) <= (kept.xid, kept.id)
),
removed as (
    delete from change c using gone g where c.xid = g.xid and c.id = g.id returning c.id
),
marked as (
    insert into floor as f (seq)
    select g.xid::text || '-' || g.id from gone g order by g.xid desc, g.id desc limit 1
    on conflict (id) do update set seq = excluded.seq, updated_at = now()
)
select count(*) as changes from removed;
