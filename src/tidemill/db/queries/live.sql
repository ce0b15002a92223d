-- Statements that pages follow live.

-- moved: where those tasks of :runs stand that changed since the snapshot :seen and behind the position :xid, :id, a line per run
-- and block of :block positions; at most :most changes.
with fresh as materialized (
    select c.kind, c.run_id, c.task_id from change c
    where c.xid >= pg_snapshot_xmin(%(seen)s::text::pg_snapshot)
      and not pg_visible_in_snapshot(c.xid, %(seen)s::text::pg_snapshot)
      and (c.xid, c.id) > (%(xid)s::text::xid8, %(id)s::bigint)
    limit %(most)s
),
stand as (
    select t.run_id, t.position / %(block)s::int as block, count(*) as tasks,
           string_agg('[' || t.position || ',"' || chr(256 + t.step * 8
                   + case t.state when 'waiting' then 0 when 'running' then 1 when 'submitted' then 2
                                  when 'done' then 3 when 'failed' then 4 else 5 end) || '"]', ',') as cells
    from task t
    where t.id = any(array(select distinct task_id from fresh where kind = 'task' and run_id = any(%(runs)s)))
    group by t.run_id, t.position / %(block)s::int
)
select pg_current_snapshot()::text as seen,
       (select count(*) from fresh) as changes,
       coalesce((select array_agg(distinct run_id) from fresh where run_id is not null), '{}') as runs,
       (select json_agg(stand) from stand) as stand;
