-- Statements of watching runs. `{matches}` is a condition's predicates (`condition.sql`) over an item `i`, composed by
-- `runner/watch_condition.py`.

-- active: the watches that take in items now, and whether each must look at all items: it never did, an hour ago, changes
-- that it has not seen are gone, or (:again) more than a minute ago.
select w.name, w.run_id, w.seen is not null as followed,
       w.seen is null or w.swept_at is null or w.swept_at < now() - interval '1 hour'
       or %(again)s and w.swept_at < now() - interval '1 minute'
       or coalesce((select c.xid > pg_snapshot_xmin(w.seen::pg_snapshot) from change c order by c.xid, c.id limit 1), false)
           as sweep
from watch w join run r on r.id = w.run_id
where r.state = 'active' and not r.paused
order by w.run_id;

-- take: the run of a watch, held until the transaction ends, so that one at a time lets items enter.
select r.id from run r
where r.id = (select run_id from watch where name = %(name)s) and r.state = 'active' and not r.paused
for no key update;

-- try_take: the same, but nothing where another is at it.
select r.id from run r
where r.id = (select run_id from watch where name = %(name)s) and r.state = 'active' and not r.paused
for no key update skip locked;

-- held: the watch of a run that was taken, as it is now; where the next item of its batch stands; and a number that changes
-- when an app of its steps does.
select w.run_id, w.name, w.condition::text as condition, w.seen, r.batch_id, r.pipeline_version_id,
       (select coalesce(max(position) + 1, 0) from batch_item b where b.batch_id = r.batch_id) as position,
       (select sum(a.revision)::bigint from step s join app a on a.id = s.app_id
        where s.pipeline_version_id = r.pipeline_version_id) as apps
from watch w join run r on r.id = w.run_id where w.run_id = %(run)s;

-- changed: the items that changed since the snapshot :seen, up to :most of them and one: those that match and have not entered
-- (`enter`), and tasks that are not over of this watch's runs (`task`), with whether the item matches; and the new snapshot.
with fresh as materialized (
    select c.kind, c.item_id, c.project_id from change c
    where c.kind in ('item', 'project') and c.xid >= pg_snapshot_xmin(%(seen)s::text::pg_snapshot)
      and not pg_visible_in_snapshot(c.xid, %(seen)s::text::pg_snapshot)
),
touched as materialized (
    select item_id from fresh where item_id is not null
    union
    select x.item_id from fresh f join project_item x on x.project_id = f.project_id where f.kind = 'project'
    limit %(most)s::int + 1
),
judged as materialized (
    select i.id, coalesce({matches}, false) as matches from touched t join item i on i.id = t.item_id and i.kind = 'item'
)
select pg_current_snapshot()::text as seen,
       pg_snapshot_xmax(pg_current_snapshot())::text::numeric
           - pg_snapshot_xmax(%(seen)s::text::pg_snapshot)::text::numeric as distance,
       (select count(*) from touched) as touched,
       (select coalesce(json_agg(j.id order by j.id), '[]') from judged j
        where j.matches and not exists (select from batch_item b where b.batch_id = %(batch)s and b.item_id = j.id)) as enter,
       (select coalesce(json_agg(json_build_object('id', t.id, 'item', j.id, 'matches', j.matches)), '[]')
        from judged j join task t on t.item_id = j.id join run r on r.id = t.run_id
        where r.watch = %(name)s and r.state = 'active' and t.state in ('waiting', 'running', 'submitted')
          and (t.held and starts_with(t.reason, %(mark)s)) = j.matches) as tasks;

-- missing: the next :n items after :after that match and have not entered.
select i.id from item i
where i.id > %(after)s and i.kind = 'item'
  and not exists (select from batch_item b
                  where b.batch_id = %(batch)s and b.item_id = i.id and b.item_id > %(after)s)
  and coalesce({matches}, false)
order by i.id limit %(n)s;

-- astray: tasks after :after that are not over of this watch's runs, and that are held although the item matches, or the
-- other way round.
select t.id, i.id as item, coalesce({matches}, false) as matches
from run r
cross join lateral (
    select t.id, t.item_id, t.held, t.reason from task t
    where t.run_id = r.id and t.state = 'waiting' and t.id > %(after)s
    union all
    select t.id, t.item_id, t.held, t.reason from task t
    where t.run_id = r.id and t.state in ('running', 'submitted') and t.id > %(after)s
) t
join item i on i.id = t.item_id
where r.watch = %(name)s and r.state = 'active'
  and (t.held and starts_with(t.reason, %(mark)s)) = coalesce({matches}, false)
order by t.id limit %(n)s;

-- matching: which of some items match.
select i.id from item i where i.id = any(%(items)s) and i.kind = 'item' and {matches};

-- remember: items that enter stand in the watch's batch.
insert into batch_item (batch_id, position, item_id)
select %(batch)s, e.position, e.item from json_to_recordset(%(entrants)s::json) as e(position int, item bigint);

-- note_entered: items that have entered, in the change feed.
insert into change (kind, run_id, task_id, item_id, position, step, state)
select 'task', t.run_id, t.id, t.item_id, t.position, t.step, t.state from task t
join json_to_recordset(%(entrants)s::json) as e(position int) on e.position = t.position
where t.run_id = %(run)s;

-- hold: tasks whose items no longer match wait, or will wait after the step in hand; each says why. Those that somebody holds
-- back for another reason stay as they are.
with wanted as (
    select * from json_to_recordset(%(tasks)s::json) as w(task bigint, reason text)
),
found as materialized (
    select t.id, w.reason from wanted w join task t on t.id = w.task
    where t.state in ('waiting', 'running', 'submitted') and not t.held
    order by t.id for no key update of t
),
moved as (
    update task t set held = true, reason = f.reason from found f where t.id = f.id
    returning t.id, t.run_id, t.item_id, t.position, t.step, t.state
)
insert into change (kind, run_id, task_id, item_id, position, step, state)
select 'task', run_id, id, item_id, position, step, state from moved;

-- release: tasks whose items match again go on.
with found as materialized (
    select id from task where id = any(%(tasks)s) and held and starts_with(reason, %(mark)s) order by id for no key update
),
moved as (
    update task t set held = false, reason = null, due_at = least(t.due_at, now()) from found f where t.id = f.id
    returning t.id, t.run_id, t.item_id, t.position, t.step, t.state
)
insert into change (kind, run_id, task_id, item_id, position, step, state)
select 'task', run_id, id, item_id, position, step, state from moved;

-- facts: what conditions ask of some items.
select i.id, i.name, i.status, i.status_reason as reason, i.metadata::text as metadata,
       (select coalesce(json_object_agg(p.name, p.locked), '{}') from project_item x join project p on p.id = x.project_id
        where x.item_id = i.id) as projects,
       (select count(*) from item_file f where f.item_id = i.id) as files
from item i where i.id = any(%(items)s);

-- saw: changes up to a snapshot have been looked at; :sweep: but not what they are, so all items must be.
update watch set seen = %(seen)s, swept_at = case when not %(sweep)s then swept_at end where run_id = %(run)s;

-- sweep_begins: all items are about to be looked at; what changes from here on is found by its changes, as before, or
-- from now on where no changes were followed or some are gone.
update watch w
set swept_at = null,
    seen = case when coalesce((select c.xid <= pg_snapshot_xmin(w.seen::pg_snapshot) from change c
                               order by c.xid, c.id limit 1), w.seen is not null)
                then w.seen else pg_current_snapshot()::text end
where run_id = %(run)s;

-- swept: all items were looked at, by this condition and for this run.
update watch set swept_at = now() where run_id = %(run)s and condition::text = %(condition)s;

-- wake: there is something for the housekeepers to do about watches.
select pg_notify('tidemill_work', 'watch'), pg_notify('tidemill_change', '');

-- list: all watches with their runs, and how many tasks of each stand in which state; of this :name if named.
select w.name, w.run_id as run, w.condition, w.condition::text as exactly, w.swept_at, r.state, r.paused, r.priority, r.reuse, r.quiet, r.created_at,
       p.name as pipeline, v.number as pipeline_version, v.id <> p.version_id as outdated, b.name as batch, r.total,
       now() as now, counts.*,
       (select coalesce(json_agg(o.id order by o.id), '[]') from run o
        where o.watch = w.name and o.state = 'active' and o.id <> r.id) as older_runs
from watch w join run r on r.id = w.run_id join batch b on b.id = r.batch_id
join pipeline_version v on v.id = r.pipeline_version_id join pipeline p on p.id = v.pipeline_id
cross join lateral (
    select coalesce(sum(t.tasks) filter (where t.state = 'waiting'), 0)::bigint as waiting,
           coalesce(sum(t.tasks) filter (where t.state in ('running', 'submitted')), 0)::bigint as running,
           coalesce(sum(t.tasks) filter (where t.state = 'done'), 0)::bigint as done,
           coalesce(sum(t.tasks) filter (where t.state = 'failed'), 0)::bigint as failed,
           coalesce(sum(t.tasks) filter (where t.state = 'cancelled'), 0)::bigint as cancelled
    from tally t where t.run_id = r.id
) counts
where %(name)s::text is null or w.name = %(name)s
order by w.name;

-- entered: where an item stands in the runs of a watch, newest first.
select r.id as run, t.id as task, t.state, t.step, s.name as step_name, t.held, t.reason, t.finished_at
from task t join run r on r.id = t.run_id
join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = t.step
where t.item_id = %(item)s and r.watch = %(name)s order by r.id desc;

-- outdated: the watches of a pipeline, or of any, whose run has another version of it than the newest.
select w.name from watch w join run r on r.id = w.run_id join pipeline_version v on v.id = r.pipeline_version_id
join pipeline p on p.id = v.pipeline_id
where r.state = 'active' and p.version_id <> r.pipeline_version_id and (%(pipeline)s::text is null or p.name = %(pipeline)s)
order by w.name;

-- held_back: the tasks of a watch's runs that wait because their items do not match.
select t.id, t.run_id from task t join run r on r.id = t.run_id
where r.watch = %(name)s and r.state = 'active' and t.state = 'waiting' and t.held and starts_with(t.reason, %(mark)s);

-- forget: a watch is over; its run closes by itself when what has entered is finished.
delete from watch where name = %(name)s returning run_id;
