//! Images: the two of the project's Dockerfile, and the one that holds pods.
//!
//! The Dockerfile's stage `build` compiles for people with Docker and a registry. Here cargo compiles (with
//! its cache), and Debian's buildah puts the ready binaries in the place of that stage; what the Dockerfile
//! says about the final images holds in both ways.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Child;

use anyhow::{Context, Result, ensure};

use crate::cache;
use crate::command::{Program, program};
use crate::kube::node::PAUSE_IMAGE;
use crate::repository::{self, VERSION};
use crate::step::{Log, Steps};

/// Where images are named when the user says nothing else.
pub const LOCAL_PREFIX: &str = "localhost/ottla";

/// One image of the Dockerfile.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its full name with tag.
    pub name: String,
    /// The archive that containerd and Docker import.
    pub archive: PathBuf,
}

/// The images of the project.
#[derive(Debug, Clone)]
pub struct Images {
    /// The broker's.
    pub broker: Image,
    /// The operator's.
    pub operator: Image,
}

/// Target of the Dockerfile, package and binary.
const BROKER: (&str, &str) = ("broker", "ottla");
const OPERATOR: (&str, &str) = ("operator", "ottla-operator");
const BINARIES: [&str; 2] = [BROKER.1, OPERATOR.1];

/// Compiles both binaries and builds both images; work whose input has not changed is not done again.
pub fn ensure(steps: &Steps, prefix: &str) -> Result<Images> {
    let context = compile_step(steps)?;
    steps.run("build the images from the Dockerfile", |log| {
        Ok(Images {
            broker: ensure_image(&context, BROKER, prefix, log)?,
            operator: ensure_image(&context, OPERATOR, prefix, log)?,
        })
    })
}

/// Compiles both binaries and returns where they lie.
pub fn binaries(steps: &Steps) -> Result<[PathBuf; 2]> {
    let context = compile_step(steps)?;
    Ok([BROKER, OPERATOR].map(|(_, binary)| context.join("out").join(binary)))
}

/// A compilation of both binaries with what other work leaves of processors and disks, so that later nobody waits for it.
/// Dropping it ends it.
#[derive(Debug)]
pub struct Compilation {
    cargo: Child,
    log: PathBuf,
}

impl Compilation {
    /// Begins it.
    pub fn begin(log_directory: &Path) -> Result<Self> {
        fs::create_dir_all(log_directory).with_context(|| format!("create {}", log_directory.display()))?;
        let path = log_directory.join("compile-meanwhile.log");
        let log = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        let low = program("nice").args(["-n", "19", "ionice", "-c", "3"]).arg(repository::cargo());
        Ok(Self { cargo: cargo_build(low, &BINARIES).spawn(log)?, log: path })
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Result<()> {
        let status = self.cargo.wait().context("wait for cargo")?;
        ensure!(status.success(), "the images do not compile; read {}", self.log.display());
        Ok(())
    }
}

impl Drop for Compilation {
    fn drop(&mut self) {
        // It has ended, or is of no use any more.
        let _ended = self.cargo.kill();
        let _ended = self.cargo.wait();
    }
}

/// Compiles the broker alone, as it is in its image, and returns where it lies.
pub fn broker(steps: &Steps) -> Result<PathBuf> {
    let title = "compile the broker (release, static)";
    let cargo = program(repository::cargo());
    Ok(steps.run(title, |log| build(cargo, &[BROKER.1], log))?.join(BROKER.1))
}

fn compile_step(steps: &Steps) -> Result<PathBuf> {
    steps.run("compile broker and operator (release, static)", compile)
}

/// Pushes an image to the registry its name says.
pub fn push(image: &Image, log: &Log) -> Result<()> {
    buildah()?.args(["push", &image.name]).arg(format!("docker://{}", image.name)).log(log)
}

/// Builds static binaries and gathers them in the shape of the Dockerfile's build stage.
fn compile(log: &Log) -> Result<PathBuf> {
    let built = build(program(repository::cargo()), &BINARIES, log)?;
    let context = repository::target().join("images/context");
    let out = context.join("out");
    fs::create_dir_all(&out).with_context(|| format!("create {}", out.display()))?;
    for (_, binary) in [BROKER, OPERATOR] {
        let built = built.join(binary);
        fs::copy(&built, out.join(binary)).with_context(|| format!("copy {}", built.display()))?;
    }
    Ok(context)
}

/// Builds static binaries and returns the directory where cargo leaves them. Both packages are named whichever binary
/// is wanted, so that their dependencies are compiled once, with the same features.
fn build(cargo: Program, binaries: &[&str], log: &Log) -> Result<PathBuf> {
    cargo_build(cargo, binaries).log(log)?;
    Ok(repository::target().join(triple()).join("release"))
}

fn triple() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

fn cargo_build(cargo: Program, binaries: &[&str]) -> Program {
    // The target is named although it is the host's: only then are the flags kept away from build scripts
    // and procedural macros, which cannot be static.
    cargo
        .args(["build", "--locked", "--release", "--target", &triple()])
        .args(binaries.iter().flat_map(|binary| ["--bin", binary]))
        .args(BINARIES.iter().flat_map(|package| ["--package", package]))
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("CARGO_TARGET_DIR", repository::target())
        .directory(&repository::root())
}

fn ensure_image(context: &Path, (stage, binary): (&str, &str), prefix: &str, log: &Log) -> Result<Image> {
    let name = format!("{prefix}/{stage}:{VERSION}");
    // A directory for each prefix: two of them are two archives.
    let directory = repository::target().join("images").join(prefix.replace(['/', ':'], "_"));
    fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    let archive = directory.join(format!("{stage}-{VERSION}.tar"));
    let dockerfile = repository::root().join("Dockerfile");
    let digest = program("sha256sum").arg(context.join("out").join(binary)).arg(&dockerfile).read()?;
    let input = format!("{name}\n{digest}");
    let stamp = directory.join(format!("{stage}.input"));
    if archive.exists() && fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == input) {
        return Ok(Image { name, archive });
    }
    let mut flag = std::ffi::OsString::from("build=");
    flag.push(context);
    let before = image_id(&name);
    buildah()?
        .args(["bud", "--isolation", "chroot", "--target", stage, "--tag", &name, "--build-context"])
        .arg(flag)
        .arg("--file")
        .arg(&dockerfile)
        // Nothing of the checkout is copied into an image, so an empty folder is context enough.
        .arg(context)
        .log(log)?;
    save(&name, &archive, log)?;
    fs::write(&stamp, input).with_context(|| format!("write {}", stamp.display()))?;
    if let Some(before) = before
        && image_id(&name).is_some_and(|now| now != before)
    {
        // Another prefix may still name it; then it stays.
        let _ = buildah()?.args(["rmi", &before]).succeeds();
    }
    Ok(Image { name, archive })
}

/// The image that carries `name` in our storage, if one does.
fn image_id(name: &str) -> Option<String> {
    let ids = buildah().ok()?.args(["images", "--quiet", "--no-trunc", name]).read().ok()?;
    ids.lines().next().map(str::to_owned)
}

/// The archive of the image that holds a pod's namespaces: it reaps children and ends on SIGTERM.
pub fn ensure_pause(steps: &Steps) -> Result<PathBuf> {
    let directory = cache::entry("pause", "1", |directory| {
        steps.run("build the pause image", |log| {
            let source = repository::root().join("e2e/pause.c");
            program("cc")
                .args(["-Os", "-static", "-s", "-o"])
                .arg(directory.join("pause"))
                .arg(source)
                .log(log)?;
            let dockerfile = directory.join("Dockerfile");
            fs::write(&dockerfile, "FROM scratch\nCOPY pause /pause\nUSER 65535\nENTRYPOINT [\"/pause\"]\n")
                .with_context(|| format!("write {}", dockerfile.display()))?;
            buildah()?
                .args(["bud", "--isolation", "chroot", "--tag", PAUSE_IMAGE])
                .arg(directory)
                .log(log)?;
            save(PAUSE_IMAGE, &directory.join("pause.tar"), log)
        })
    })?;
    Ok(directory.join("pause.tar"))
}

fn save(name: &str, archive: &Path, log: &Log) -> Result<()> {
    if archive.exists() {
        fs::remove_file(archive).with_context(|| format!("remove {}", archive.display()))?;
    }
    buildah()?.args(["push", name]).arg(format!("docker-archive:{}:{name}", archive.display())).log(log)
}

/// buildah on a storage of its own, so that the user's images are left alone.
fn buildah() -> Result<Program> {
    let storage = cache::root()?.join("buildah");
    Ok(program("buildah")
        .args(["--storage-driver", "vfs", "--root"])
        .arg(storage.join("root"))
        .arg("--runroot")
        .arg(storage.join("run")))
}
