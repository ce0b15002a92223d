-- Statements of schedules. Times are the database's.

-- list: schedules in order of name; the one of this :name if named.
select id, name, cron, zone, action, paused, next_at, last_at, last_result, now() as now from schedule
where %(name)s::text is null or name = %(name)s order by name;

-- due_start: the schedule of a start that has been due longest, held until the transaction ends; none that another process is at.
select id, name, cron, zone, action, next_at, now() as now from schedule
where next_at <= now() and not paused and not action ? 'sync' order by next_at, id limit 1 for update skip locked;

-- due_syncs: the schedules of syncs that are due, and that nobody is at.
select id from schedule c
where next_at <= now() and not paused and action ? 'sync' and not exists (
    select from pg_locks l where l.locktype = 'advisory' and l.granted and l.objsubid = 2
      and l.database = (select oid from pg_database where datname = current_database())
      and l.classid = hashtext('schedule')::oid and l.objid = c.id::int::oid)
order by next_at, id;

-- alone: one process at a time does a schedule; a lock of the session, which holds back nobody's reading of the change feed.
select pg_try_advisory_lock(hashtext('schedule'), %(id)s::int) as alone;

-- free: this process is done with a schedule.
select pg_advisory_unlock(hashtext('schedule'), %(id)s::int);

-- still_due: a schedule, if it is due.
select id, name, cron, zone, action, next_at, now() as now from schedule where id = %(id)s and next_at <= now() and not paused;

-- synced: what came of reading a source; when it is due again, unless that was changed meanwhile.
update schedule set last_at = now(), last_result = %(result)s,
    next_at = case when next_at = %(was)s::timestamptz then %(next)s::timestamptz else next_at end
where id = %(id)s;

-- named: the schedule of this name, held until the transaction ends.
select id, name, cron, zone, action, next_at, now() as now from schedule where name = %(name)s for update;

-- done: what came of a schedule, and when it is due again.
update schedule set last_at = now(), last_result = %(result)s, next_at = %(next_at)s where id = %(id)s;

-- set_paused: let a schedule rest, or go on.
update schedule set paused = %(paused)s, next_at = %(next_at)s where name = %(name)s;

-- remove: take a schedule away.
delete from schedule where name = %(name)s;

-- next: in how many seconds the next schedule is due; null where none is.
select greatest(extract(epoch from min(next_at) - now()), 0)::float8 as seconds from schedule where not paused;

-- unknown_zones: those of :zones that this database has no rules for.
select z.zone from unnest(%(zones)s::text[]) z(zone)
where not exists (select from pg_timezone_names n where n.name = z.zone) order by 1;

-- clock: the database's time.
select now() as now;

-- wake: there is something for the housekeepers to do about schedules.
select pg_notify('tidemill_work', 'schedules');
