-- Statements of schedules. Times are the database's.

-- list: schedules in order of name; the one of this :name if named.
select id, name, cron, zone, action, paused, next_at, last_at, last_result, now() as now from schedule
where %(name)s::text is null or name = %(name)s order by name;

-- due: the schedule that has been due longest, held until the transaction ends; none that another process is at.
select id, name, cron, zone, action, next_at, now() as now from schedule
where next_at <= now() and not paused order by next_at, id limit 1 for update skip locked;

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
