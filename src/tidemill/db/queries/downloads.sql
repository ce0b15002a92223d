-- Statements about handing files out: what a link may lead to, and who took what.

-- offered: a computed file as it can be handed out now, with how long links are good; :person is whose token asks, null an
-- operator's. A dataset is for those alone who asked for it.
select f.id, f.name, f.store, f.key, f.size, f.sha256, f.updated_at, now() as now, f.removed_at is not null as removed,
       f.expires_at is not null and f.expires_at <= now() as expired, n.id as newer,
       least(now() + make_interval(secs => 86400 * coalesce((s.publishing->>'link_days')::float8, 7)), f.expires_at) as until,
       f.options
from computed_file f
left join site s on true
left join computed_file n on n.item_id = f.item_id and n.replaced_at is null and f.replaced_at is not null
where f.id = %(id)s
  and (f.package <> 'dataset' or %(person)s::bigint is null
       or exists (select from dataset d where d.item_id = f.item_id and d.token_id = %(person)s));

-- original: an original file likewise, where the site offers them and its project is not locked.
select f.id, f.key as name, o.url as store, f.key, f.size, '' as sha256,
       coalesce(f.modified_at, f.changed_at, f.seen_at) as updated_at, now() as now, false as removed, false as expired,
       null::bigint as newer, o.options, o.name as source,
       now() + make_interval(secs => 86400 * coalesce((s.publishing->>'link_days')::float8, 7)) as until
from file f
join source o on o.id = f.source_id
join site s on (s.publishing->>'originals')::bool
left join project p on p.id = f.project_id
where f.id = %(id)s and not coalesce(p.locked, false)
  and not exists (select from item_file x join project_item y on y.item_id = x.item_id join project q on q.id = y.project_id
                  where x.file_id = f.id and q.locked);

-- originals: the original files of an item or a project that can be handed out, in order of key, with how many there are;
-- none where the site does not offer them.
select f.id, o.name as source, f.key, f.size, f.etag, f.attributes, coalesce(f.changed_at, f.modified_at) as changed_at,
       count(*) over () as total
from file f
join source o on o.id = f.source_id
join site s on (s.publishing->>'originals')::bool
left join project p on p.id = f.project_id
where not coalesce(p.locked, false)
  and (%(item)s::text is null or f.id in (
      select x.file_id from item_file x join item i on i.id = x.item_id where i.name = %(item)s and i.kind = 'item'))
  and (%(project)s::text is null or p.name = %(project)s)
  and not exists (select from item_file x join project_item y on y.item_id = x.item_id join project q on q.id = y.project_id
                  where x.file_id = f.id and q.locked)
order by o.name, f.key limit %(limit)s offset %(offset)s;

-- count: note that somebody was given a link to a computed file.
with noted as (
    insert into download (computed_file_id, token_id, terms)
    select %(id)s, %(person)s::bigint, coalesce((select terms from token where id = %(person)s), '')
    returning computed_file_id
)
update computed_file f set downloads = downloads + 1 from noted where f.id = noted.computed_file_id;

-- note_original: note that somebody was given a link to an original file.
insert into download (original, token_id, terms)
values (%(original)s, %(person)s::bigint, coalesce((select terms from token where id = %(person)s), ''));

-- served: what a link of ours to a computed file leads to, and whether its token (0: none) is still good.
select f.name, f.store, f.key, f.size, f.sha256, f.updated_at, extract(epoch from now())::bigint as now,
       f.removed_at is not null as removed, f.expires_at is not null and f.expires_at <= now() as expired,
       %(token)s <> 0 and not exists (select from token k where k.id = %(token)s and k.revoked_at is null) as revoked
from computed_file f where f.id = %(id)s;

-- served_original: likewise of a link to an original file.
select f.key as name, o.url as store, f.key, f.size, '' as sha256,
       coalesce(f.modified_at, f.changed_at, f.seen_at) as updated_at, extract(epoch from now())::bigint as now,
       false as removed, false as expired,
       %(token)s <> 0 and not exists (select from token k where k.id = %(token)s and k.revoked_at is null) as revoked
from file f join source o on o.id = f.source_id
join site s on (s.publishing->>'originals')::bool
where f.id = %(id)s;

-- manifest: the packages that a project offers now, in order of name; :per (project, item) and :packages narrow them.
select f.id, f.name, f.package, f.size, f.sha256, f.updated_at, f.attributes
from computed_file f
where f.project_id = %(project)s and f.replaced_at is null and f.package <> 'dataset'
  and (%(packages)s::text[] is null or f.package = any(%(packages)s))
  and (%(per)s::text is null or %(per)s = (
      select p->>'per' from site s, jsonb_array_elements(s.packages) p where p->>'name' = f.package limit 1))
order by f.name, f.id;

-- project: a project by its name, unless it was locked before anything was loaded of it.
select id, name, locked from project where name = %(name)s and not (locked and metadata = '{}' and title = '');
