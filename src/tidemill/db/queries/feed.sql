-- Statements of the change feed. A position is (xid, id): ids alone do not tell in which order transactions commit.

-- read: changes after a position, in order, of those transactions that no older one can still precede.
select c.xid::text as xid, c.id, c.kind, c.run_id, c.task_id, c.item_id, c.position, c.step, c.state, c.at
from change c
where (c.xid, c.id) > (%(xid)s::text::xid8, %(id)s::bigint) and c.xid < %(before)s::text::xid8
  and (%(run)s::bigint is null or c.run_id = %(run)s)
  and (%(kinds)s::text[] is null or c.kind = any(%(kinds)s))
order by c.xid, c.id
limit %(limit)s;

-- pending: how many changes come after a position, counted up to :most.
select count(*) as changes from (
    select from change c
    where (c.xid, c.id) > (%(xid)s::text::xid8, %(id)s::bigint) and c.xid < %(before)s::text::xid8
      and (%(run)s::bigint is null or c.run_id = %(run)s)
      and (%(kinds)s::text[] is null or c.kind = any(%(kinds)s))
    limit %(most)s
) rest;

-- now: the first transaction of this database that may still write changes, and the newest change before it: where one
-- goes on who reads any state after this. Transactions known to be of other databases of the server do not count.
with snapshot as materialized (
    select pg_current_snapshot() as seen
),
elsewhere as materialized (
    select backend_xid from pg_stat_activity where datname <> current_database() and backend_xid is not null
),
horizon as (
    select coalesce((
               select min(open.xid::text::numeric)::text::xid8 from pg_snapshot_xip(snapshot.seen) open(xid)
               where not exists (select from elsewhere where elsewhere.backend_xid = open.xid::xid)
           ), pg_snapshot_xmax(snapshot.seen)) as xid
    from snapshot
)
select horizon.xid::text as before, coalesce(newest.seq, '0-0') as seq, pg_snapshot_xmax(snapshot.seen)::text as next_xid
from snapshot, horizon
left join lateral (
    select c.xid::text || '-' || c.id as seq from change c where c.xid < horizon.xid order by c.xid desc, c.id desc limit 1
) newest on true;

-- moved: where those tasks of :runs stand that changed since the snapshot :seen, a line per run; at most :most changes.
with fresh as materialized (
    select c.kind, c.run_id, c.task_id from change c
    where c.xid >= pg_snapshot_xmin(%(seen)s::text::pg_snapshot)
      and not pg_visible_in_snapshot(c.xid, %(seen)s::text::pg_snapshot)
    limit %(most)s
),
stand as (
    select t.run_id, count(*) as tasks,
           '[' || string_agg('[' || t.position || ',"' || chr(256 + t.step * 8
                   + case t.state when 'waiting' then 0 when 'running' then 1 when 'submitted' then 2
                                  when 'done' then 3 when 'failed' then 4 else 5 end) || '"]', ',') || ']' as cells
    from (select distinct task_id from fresh where kind = 'task' and run_id = any(%(runs)s)) f
    join task t on t.id = f.task_id
    group by t.run_id
)
select pg_current_snapshot()::text as seen,
       (select count(*) from fresh) as changes,
       coalesce((select array_agg(distinct run_id) from fresh where run_id is not null), '{}') as runs,
       (select json_agg(stand) from stand) as stand;
