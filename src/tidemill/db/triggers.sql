-- What the tables keep true by themselves, whoever writes to them and however: run by the migrations, may be run again.

-- A record's revision rises with every edit.
create or replace function item_edited() returns trigger language plpgsql as $$
begin
    if (new.name, new.status, new.status_reason, new.metadata) is distinct from
       (old.name, old.status, old.status_reason, old.metadata) then
        new.revision := old.revision + 1;
        new.updated_at := now();
    end if;
    return new;
end $$;

create or replace trigger item_edited before update on item for each row execute function item_edited();

-- Every new, edited or deleted item is in the change feed, under its kind, and wakes whoever waits for items.
create or replace function item_changed() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        insert into change (kind, item_id, state) select kind, id, status from new_items;
    elsif tg_op = 'UPDATE' then
        insert into change (kind, item_id, state)
        select n.kind, n.id, n.status from new_items n join old_items o on o.id = n.id where o.revision <> n.revision;
    else
        insert into change (kind, item_id, state, name) select kind, id, 'deleted', name from old_items;
    end if;
    perform pg_notify('tidemill_work', 'items'), pg_notify('tidemill_change', '');
    return null;
end $$;

create or replace trigger item_inserted after insert on item
    referencing new table as new_items for each statement execute function item_changed();
create or replace trigger item_updated after update on item
    referencing old table as old_items new table as new_items for each statement execute function item_changed();
create or replace trigger item_deleted after delete on item
    referencing old table as old_items for each statement execute function item_changed();

-- So is every item that comes into a project or leaves one.
create or replace function member_changed() returns trigger language plpgsql as $$
begin
    insert into change (kind, item_id, project_id, state)
    select 'item', i.id, m.project_id, i.status from members m join item i on i.id = m.item_id;
    perform pg_notify('tidemill_work', 'items'), pg_notify('tidemill_change', '');
    return null;
end $$;

create or replace trigger member_inserted after insert on project_item
    referencing new table as members for each statement execute function member_changed();
create or replace trigger member_deleted after delete on project_item
    referencing old table as members for each statement execute function member_changed();

-- So is every item that a file comes to, or leaves, unless this transaction has told of the item already.
create or replace function link_changed() returns trigger language plpgsql as $$
begin
    insert into change (kind, item_id, state)
    select 'item', i.id, i.status from (select distinct item_id from links) l join item i on i.id = l.item_id
    where i.xmin <> pg_current_xact_id()::xid;
    if found then
        perform pg_notify('tidemill_work', 'items'), pg_notify('tidemill_change', '');
    end if;
    return null;
end $$;

create or replace trigger link_inserted after insert on item_file
    referencing new table as links for each statement execute function link_changed();
create or replace trigger link_deleted after delete on item_file
    referencing old table as links for each statement execute function link_changed();

-- So is every item of which a file has other bytes or other attributes now: its record is as it was, what it stands for is not.
create or replace function file_changed() returns trigger language plpgsql as $$
begin
    perform from new_files n join old_files o using (id)
    where (n.size, n.etag, n.attributes) is distinct from (o.size, o.etag, o.attributes) limit 1;
    if not found then
        return null;
    end if;
    insert into change (kind, item_id, state)
    select 'item', i.id, i.status
    from (select distinct x.item_id
          from new_files n join old_files o using (id) join item_file x on x.file_id = n.id
          where (n.size, n.etag, n.attributes) is distinct from (o.size, o.etag, o.attributes)) theirs
    join item i on i.id = theirs.item_id where i.xmin <> pg_current_xact_id()::xid;
    perform pg_notify('tidemill_work', 'items'), pg_notify('tidemill_change', '');
    return null;
end $$;

create or replace trigger file_changed after update on file
    referencing old table as old_files new table as new_files for each statement execute function file_changed();

-- And every project that is made, edited, locked or unlocked.
create or replace function project_changed() returns trigger language plpgsql as $$
begin
    insert into change (kind, project_id, state) values ('project', new.id, case when new.locked then 'locked' else 'open' end);
    perform pg_notify('tidemill_work', 'items'), pg_notify('tidemill_change', '');
    return null;
end $$;

create or replace trigger project_changed after insert or update on project
    for each row execute function project_changed();

-- How many tasks of a run stand where is added up as they move, so that a page need not count a million of them.
create or replace function task_moved() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        insert into tally (run_id, step, state, tasks)
        select run_id, step, state, count(*) from new_tasks group by run_id, step, state;
    elsif tg_op = 'UPDATE' then
        insert into tally (run_id, step, state, tasks)
        select run_id, step, state, sum(n)
        from (select run_id, step, state, 1 as n from new_tasks union all select run_id, step, state, -1 from old_tasks) moved
        group by run_id, step, state having sum(n) <> 0;
    else
        insert into tally (run_id, step, state, tasks)
        select run_id, step, state, -count(*) from old_tasks group by run_id, step, state;
    end if;
    return null;
end $$;

create or replace trigger task_inserted after insert on task
    referencing new table as new_tasks for each statement execute function task_moved();
create or replace trigger task_updated after update on task
    referencing old table as old_tasks new table as new_tasks for each statement execute function task_moved();
create or replace trigger task_deleted after delete on task
    referencing old table as old_tasks for each statement execute function task_moved();

-- The step that an item has done last: the newest success that is not superseded, over all its runs; else the last that
-- another system did before the item came here; else no row. Exact on the name, since it is a name and no part of one.
-- A table, so that it becomes a part of the statement that asks (`cross join lateral last_step(i.id)`): a value would not.
create or replace function last_step(bigint) returns table (name text, task_id bigint, finished_at timestamptz)
language sql stable as $$
    select coalesce(l.past, (
               select s.name from run r join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = l.step
               where r.id = l.run_id)), l.task_id, l.finished_at
    from (
        (select 0 as place, null as past, t.run_id, a.step, a.task_id, a.finished_at
         from task t
         join attempt a on a.task_id = t.id and a.outcome = 'done' and a.superseded_at is null
         where t.item_id = $1
         order by a.finished_at desc, a.task_id desc, a.step desc limit 1)
        union all
        (select 1, p.name, null, null, null, p.finished_at
         from past_step p where p.item_id = $1 order by p.position desc limit 1)
    ) l
    order by l.place limit 1
$$;

-- The pieces of two and of three letters that a name has, so that names which contain some letters are found by an index.
-- A loop, since it is asked for each new item, and again by each analysis of the table: it takes a third of what a query does.
create or replace function name_grams(text) returns text[] language plpgsql immutable strict parallel safe as $$
declare
    letters text := lower($1);
    last int := length(letters) - 1;
    found text[] := '{}';
begin
    for n in 1..last loop
        found := found || substr(letters, n, 2);
        if n < last then
            found := found || substr(letters, n, 3);
        end if;
    end loop;
    return found;
end $$;

-- Those of them that a name must have which contains these letters: the longest that there are, since they are the rarest.
create or replace function search_grams(text) returns text[] language sql immutable strict parallel safe as $$
    select coalesce(array_agg(distinct substr(lower($1), n, least(3, length($1)))), '{}')
    from generate_series(1, length($1) - least(3, length($1)) + 1) n where length($1) > 1
$$;
