using System.Text.Json;
using System.Xml.Linq;

namespace Vmm.EndToEnd;

/// <summary>The packages of <c>tools/package.sh</c>, installed as people do: in systems that have nothing of ours, and no .NET.</summary>
[Trait("Long", "true")]
public sealed class InstallTests
{
    private static readonly Lazy<string> Packages = new(Pack);

    [Fact]
    public void A_clean_Debian_installs_the_package_runs_it_without_privilege_and_removes_it_without_a_trace()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "a system is made and entered by root only");
        using ScratchDirectory scratch = new();
        string root = scratch.PathOf("root");
        Shell.Run("mmdebstrap", "--quiet", "--variant=apt", "--mode=root", "bookworm", root);
        string package = Assert.Single(Directory.GetFiles(Packages.Value, "vmm_*.deb"));
        File.Copy(package, Path.Combine(root, Path.GetFileName(package)));
        try
        {
            Shell.Run("mount", "--bind", "/proc", Path.Combine(root, "proc"));
            string before = Files(root);
            string apt = Shell.Run("chroot", root, "apt-get", "install", "-y", $"./{Path.GetFileName(package)}");
            Assert.DoesNotContain("error", apt, StringComparison.OrdinalIgnoreCase);
            Assert.DoesNotContain("dotnet", Files(root));
            string run = Shell.Run("chroot", "--userspec=65534:65534", root, "vmm", "run", "--exec", "lsdev; fill vda 7; verify vda 7; poweroff");
            Assert.Contains("verify vda 7 ok", run);
            foreach (string file in (string[])
            [
                "usr/share/man/man1/vmm-serve.1.gz", "usr/share/bash-completion/completions/vmm", "usr/share/zsh/vendor-completions/_vmm",
                "usr/share/fish/vendor_completions.d/vmm.fish", "usr/lib/systemd/system/vmm-blk@.socket", "usr/lib/systemd/system/vmm@.service", "etc/vmm",
                "usr/share/vmm/vmm.schema.json", "usr/share/qemu/vhost-user/60-vmm-block.json",
            ])
            {
                Assert.True(Path.Exists(Path.Combine(root, file)), file);
            }
            // The program that the file for QEMU's managers names.
            Assert.Contains("\"type\": \"block\"", Shell.Run("chroot", root, "/usr/libexec/vmm/vhost-user-blk", "--print-capabilities"));
            Shell.Run("chroot", root, "apt-get", "purge", "-y", "vmm");
            Assert.Equal(before, Files(root));
            // Half an installation: unpacked, never configured. It runs, and goes as a whole one does.
            Shell.Run("chroot", root, "dpkg", "--unpack", $"./{Path.GetFileName(package)}");
            Assert.Contains("0.", Shell.Run("chroot", root, "vmm", "--version"));
            Shell.Run("chroot", root, "dpkg", "--purge", "vmm");
            Assert.Equal(before, Files(root));
        }
        finally
        {
            Shell.Try("umount", Path.Combine(root, "proc"));
        }
    }

    [Fact]
    public void The_bill_of_materials_has_every_package_that_the_tool_names_with_hash_and_licence()
    {
        string package = Assert.Single(Directory.GetFiles(Packages.Value, "vmm_*.deb"));
        string text = Shell.Run("sh", "-c", $"dpkg-deb --fsys-tarfile '{package}' | tar -xO ./usr/share/doc/vmm/vmm.cdx.json");
        using JsonDocument bill = JsonDocument.Parse(text);
        Assert.Equal("CycloneDX", bill.RootElement.GetProperty("bomFormat").GetString());
        JsonElement[] components = [.. bill.RootElement.GetProperty("components").EnumerateArray()];
        Assert.All(components, component => Assert.NotEmpty(component.GetProperty("hashes")[0].GetProperty("content").GetString()!));
        Assert.All(components, component => Assert.True(component.TryGetProperty("licenses", out _), component.ToString()));
        string[] named = [.. XDocument.Load(Repository.PathOf("tools/vmm/vmm.csproj")).Descendants("PackageReference").Select(reference => reference.Attribute("Include")!.Value)];
        Assert.NotEmpty(named);
        Assert.Empty(named.Except(components.Select(component => component.GetProperty("name").GetString())));
    }

    [Fact]
    public void The_image_is_one_that_container_tools_take_and_runs_in_its_own_root()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "a root is entered by root only");
        using ScratchDirectory scratch = new();
        string archive = Assert.Single(Directory.GetFiles(Packages.Value, "*_oci.tar"));
        using (JsonDocument inspected = JsonDocument.Parse(Shell.Run("skopeo", "inspect", $"oci-archive:{archive}")))
        {
            Assert.Equal("amd64", inspected.RootElement.GetProperty("Architecture").GetString());
            Assert.Equal(1, inspected.RootElement.GetProperty("Layers").GetArrayLength());
        }
        // A copy by another's tool checks every checksum.
        Shell.Run("skopeo", "--insecure-policy", "copy", "-q", $"oci-archive:{archive}", $"dir:{scratch.PathOf("copy")}");
        using JsonDocument manifest = JsonDocument.Parse(File.ReadAllText(scratch.PathOf("copy/manifest.json")));
        string layer = manifest.RootElement.GetProperty("layers")[0].GetProperty("digest").GetString()!.Split(':')[1];
        Directory.CreateDirectory(scratch.PathOf("root"));
        Shell.Run("tar", "-xzf", scratch.PathOf($"copy/{layer}"), "-C", scratch.PathOf("root"));
        Assert.Contains("sha256 vda", Shell.Run("chroot", scratch.PathOf("root"), "/usr/bin/vmm", "run", "--exec", "sha256 vda; poweroff"));
    }

    [Fact]
    public void The_tool_package_is_installed_and_removed_by_dotnet()
    {
        using ScratchDirectory scratch = new();
        string version = VmmProcess.Run("--version").Output.Trim().Split('+')[0];
        Shell.Run("dotnet", "tool", "install", "vmm", "--tool-path", scratch.PathOf("tools"), "--version", version, "--source", Packages.Value);
        Assert.Contains("sha256 vda", Shell.Run(scratch.PathOf("tools/vmm"), "run", "--exec", "sha256 vda; poweroff"));
        Shell.Run("dotnet", "tool", "uninstall", "vmm", "--tool-path", scratch.PathOf("tools"));
        Assert.False(File.Exists(scratch.PathOf("tools/vmm")));
    }

    [Fact]
    public void The_same_file_gives_the_same_packages()
    {
        using ScratchDirectory scratch = new();
        Shell.Run(Repository.PathOf("tools/package.sh"), scratch.PathOf("again"));
        foreach (string pattern in (string[])["*.deb", "*_oci.tar"])
        {
            string first = Assert.Single(Directory.GetFiles(Packages.Value, pattern)), second = Assert.Single(Directory.GetFiles(scratch.PathOf("again"), pattern));
            Assert.Equal(ScratchDirectory.Sha256(first), ScratchDirectory.Sha256(second));
        }
    }

    /// <summary>Every path of a system but those that apt itself fills when it installs anything.</summary>
    private static string Files(string root) => string.Join('\n', Shell.Lines(Shell.Run("find", root, "-xdev")).Where(path =>
        !path.Contains("/var/log/") && !path.Contains("/var/cache/") && !path.Contains("/var/lib/apt/") && !path.Contains("/var/lib/dpkg/")
        && !path.Contains("/proc/")).Order(StringComparer.Ordinal));

    private static string Pack()
    {
        string output = Repository.PathOf("artifacts/test-packages");
        if (Directory.Exists(output)) Directory.Delete(output, recursive: true);
        Shell.Run(Repository.PathOf("tools/package.sh"), output);
        return output;
    }
}
