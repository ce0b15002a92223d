-- Statements of the change feed. A position is (xid, id): ids alone do not tell in which order transactions commit.

-- read: changes after a position, in order, of those transactions that no older one can still precede.
select c.xid::text as xid, c.id, c.kind, c.run_id, c.task_id, c.item_id, c.position, c.step, c.state, c.at
from change c
where (c.xid, c.id) > (%(xid)s::text::xid8, %(id)s::bigint) and c.xid < pg_snapshot_xmin(pg_current_snapshot())
  and (%(run)s::bigint is null or c.run_id = %(run)s)
  and (%(kinds)s::text[] is null or c.kind = any(%(kinds)s))
order by c.xid, c.id
limit %(limit)s;

-- pending: how many changes come after a position, counted up to :most.
select count(*) as changes from (
    select from change c
    where (c.xid, c.id) > (%(xid)s::text::xid8, %(id)s::bigint) and c.xid < pg_snapshot_xmin(pg_current_snapshot())
      and (%(run)s::bigint is null or c.run_id = %(run)s)
      and (%(kinds)s::text[] is null or c.kind = any(%(kinds)s))
    limit %(most)s
) rest;

-- now: the newest change before which nothing can come any more: where one who has seen this snapshot goes on.
select coalesce((
           select xid::text || '-' || id from change where xid < pg_snapshot_xmin(pg_current_snapshot())
           order by xid desc, id desc limit 1
       ), '0-0') as seq,
       pg_snapshot_xmax(pg_current_snapshot())::text as next_xid;

-- seen: the snapshot of this moment, as text.
select pg_current_snapshot()::text as seen;

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
       coalesce((select xid::text || '-' || id from change where xid < pg_snapshot_xmin(pg_current_snapshot())
                 order by xid desc, id desc limit 1), '0-0') as seq,
       (select count(*) from fresh) as changes,
       coalesce((select array_agg(distinct run_id) from fresh where run_id is not null), '{}') as runs,
       (select json_agg(stand) from stand) as stand;
