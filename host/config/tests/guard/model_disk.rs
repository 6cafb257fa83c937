//! A disk in memory that knows what a loss of power takes: data of files and names in folders that were not synced.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use peerup_config::Disk;

/// What goes wrong, counted in steps that change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The process is gone before this step.
    StopAt(usize),
    /// This step finds no room.
    FullOnce(usize),
    /// No step from here on that needs room finds any.
    FullFrom(usize),
    /// No step from here on may change anything.
    ReadOnlyFrom(usize),
    /// This step is carried out, and fails all the same.
    BrokenOnce(usize),
}

/// What a stop takes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Only the process ended.
    Nothing,
    /// Power went: nothing that was not synced is there.
    AllUnsynced,
    /// Power went: names are there, unsynced data is not.
    UnsyncedData,
    /// Power went: the first half of the changes of names is there, and unsynced data is not.
    HalfUnsynced,
}

#[derive(Debug, Default)]
struct Inode {
    data: Vec<u8>,
    synced: Option<Vec<u8>>,
}

#[derive(Debug, Clone)]
enum NameChange {
    Set(PathBuf, usize),
    Clear(PathBuf),
}

#[derive(Debug)]
struct Model {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    /// Changes of names since their folder was synced, oldest first.
    unsynced: Vec<NameChange>,
    fault: Fault,
    steps: usize,
    counted_from: usize,
    is_stopped: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct ModelDisk(Arc<Mutex<Model>>);

impl ModelDisk {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Model {
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
            unsynced: Vec::new(),
            fault: Fault::None,
            steps: 0,
            counted_from: 0,
            is_stopped: false,
        })))
    }

    /// Puts a file there for good, as somebody else would.
    pub(crate) fn put(&self, path: &str, text: &str) {
        let mut model = self.0.lock().unwrap();
        let inode = model.inodes.len();
        model.inodes.push(Inode {
            data: text.into(),
            synced: Some(text.into()),
        });
        model.names.insert(path.into(), inode);
        model.durable.insert(path.into(), inode);
    }

    /// Takes a file away for good.
    pub(crate) fn take(&self, path: &str) {
        let mut model = self.0.lock().unwrap();
        model.names.remove(Path::new(path));
        model.durable.remove(Path::new(path));
    }

    pub(crate) fn text(&self, path: PathBuf) -> Option<String> {
        String::from_utf8(self.read(&path, u64::MAX).ok()?).ok()
    }

    pub(crate) fn set_fault(&self, fault: Fault) {
        let mut model = self.0.lock().unwrap();
        model.fault = fault;
        model.counted_from = model.steps;
    }

    pub(crate) fn steps(&self) -> usize {
        self.0.lock().unwrap().steps
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.0.lock().unwrap().is_stopped
    }

    /// The machine comes back.
    pub(crate) fn restart(&self, loss: Loss) {
        let mut model = self.0.lock().unwrap();
        model.fault = Fault::None;
        model.is_stopped = false;
        let kept = match loss {
            Loss::Nothing => return,
            Loss::AllUnsynced => 0,
            Loss::HalfUnsynced => model.unsynced.len() / 2,
            Loss::UnsyncedData => model.unsynced.len(),
        };
        let changes: Vec<NameChange> = model.unsynced.drain(..).take(kept).collect();
        let mut durable = std::mem::take(&mut model.durable);
        for change in changes {
            change.make(&mut durable);
        }
        model.names.clone_from(&durable);
        model.durable = durable;
        for inode in &mut model.inodes {
            inode.data = inode.synced.clone().unwrap_or_default();
        }
    }

    /// Counts a step that changes something. Returns whether it is carried out and fails.
    fn step(&self, needs_room: bool) -> io::Result<bool> {
        let mut model = self.0.lock().unwrap();
        let at = model.steps - model.counted_from;
        let full = || io::Error::new(io::ErrorKind::StorageFull, "no space left on device");
        if model.is_stopped {
            return Err(io::Error::other("the process is gone"));
        }
        model.steps += 1;
        match model.fault {
            Fault::StopAt(stop) if at >= stop => {
                model.is_stopped = true;
                Err(io::Error::other("the process is gone"))
            }
            Fault::FullOnce(once) if at == once && needs_room => Err(full()),
            Fault::FullFrom(from) if at >= from && needs_room => Err(full()),
            Fault::ReadOnlyFrom(from) if at >= from => Err(io::Error::new(
                io::ErrorKind::ReadOnlyFilesystem,
                "read-only file system",
            )),
            Fault::BrokenOnce(once) => Ok(at == once),
            _ => Ok(false),
        }
    }
}

impl NameChange {
    fn make(self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Set(path, inode) => {
                names.retain(|_, known| *known != inode);
                names.insert(path, inode);
            }
            Self::Clear(path) => drop(names.remove(&path)),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Set(path, _) | Self::Clear(path) => path,
        }
    }
}

impl Model {
    fn change(&mut self, change: NameChange) {
        change.clone().make(&mut self.names);
        self.unsynced.push(change);
    }
}

fn broken(is_broken: bool) -> io::Result<()> {
    match is_broken {
        true => Err(io::Error::other("input/output error")),
        false => Ok(()),
    }
}

fn absent() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "no such file")
}

impl Disk for ModelDisk {
    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let model = self.0.lock().unwrap();
        let inode = model.names.get(path).ok_or_else(absent)?;
        let data = model.inodes[*inode].data.clone();
        assert!(data.len() as u64 <= most);
        Ok(data)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let model = self.0.lock().unwrap();
        let inside = model.names.keys().filter(|path| path.parent() == Some(folder));
        Ok(inside
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect())
    }

    fn create_folder(&self, _: &Path) -> io::Result<()> {
        broken(self.step(true)?)
    }

    fn write_new(&self, folder: &Path, _: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
        let is_broken = self.step(true)?;
        let mut model = self.0.lock().unwrap();
        let inode = model.inodes.len();
        model.inodes.push(Inode {
            data: bytes.to_owned(),
            synced: None,
        });
        let path = folder.join(format!(".config.{inode}.tmp"));
        model.change(NameChange::Set(path.clone(), inode));
        broken(is_broken)?;
        Ok(path)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let is_broken = self.step(false)?;
        let mut model = self.0.lock().unwrap();
        if let Some(inode) = model.names.get(path).copied() {
            let data = model.inodes[inode].data.clone();
            model.inodes[inode].synced = Some(data);
        } else {
            let changes = std::mem::take(&mut model.unsynced);
            let (synced, others): (Vec<_>, Vec<_>) = changes
                .into_iter()
                .partition(|change| change.path().parent() == Some(path));
            model.unsynced = others;
            let mut durable = std::mem::take(&mut model.durable);
            for change in synced {
                change.make(&mut durable);
            }
            model.durable = durable;
        }
        broken(is_broken)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let is_broken = self.step(false)?;
        let mut model = self.0.lock().unwrap();
        let inode = *model.names.get(from).ok_or_else(absent)?;
        model.change(NameChange::Set(to.to_owned(), inode));
        broken(is_broken)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let is_broken = self.step(false)?;
        let mut model = self.0.lock().unwrap();
        if !model.names.contains_key(path) {
            return Err(absent());
        }
        model.change(NameChange::Clear(path.to_owned()));
        broken(is_broken)
    }
}
