namespace Vmm.Devices.Tests;

/// <summary>How disks are named, and what is said of names that make no sense.</summary>
public sealed class DiskAddressTests
{
    [Theory]
    [InlineData("disk.img", "disk.img")]
    [InlineData("/a/b c", "/a/b c")]
    [InlineData("./rbd:x", "./rbd:x")]
    [InlineData("file:a%20b", "a b")]
    [InlineData("file:/a/b", "/a/b")]
    [InlineData("file:///a/b", "/a/b")]
    [InlineData("a/b://c", "a/b://c")]
    public void A_path_is_a_file(string text, string path) => Assert.Equal(path, DiskAddress.Parse(text).FilePath);

    [Theory]
    [InlineData("null:1G", 1UL << 30)]
    [InlineData("null:512", 512UL)]
    [InlineData("null:64t", 1UL << 46)]
    public void A_null_disk_has_a_size(string text, ulong bytes) => Assert.Equal(new NullAddress(bytes), DiskAddress.Parse(text));

    [Fact]
    public void A_memory_disk_has_a_size() => Assert.Equal(new MemoryAddress(64 << 20), DiskAddress.Parse("memory:64M"));

    [Theory]
    [InlineData("nbd://example.com/disk", "example.com", 10809, "disk")]
    [InlineData("nbd://example.com", "example.com", 10809, "")]
    [InlineData("nbd://example.com/", "example.com", 10809, "")]
    [InlineData("nbd://example.com//disk", "example.com", 10809, "/disk")]
    [InlineData("nbd://example.com:1/hello%20world", "example.com", 1, "hello world")]
    [InlineData("nbd://[::1]:10810/a,b", "::1", 10810, "a,b")]
    [InlineData("nbd://[::1]", "::1", 10809, "")]
    public void An_export_is_at_a_host(string text, string host, int port, string export)
    {
        NbdAddress address = Assert.IsType<NbdAddress>(DiskAddress.Parse(text));
        Assert.Equal((host, port, export, null, null), (address.Host, address.Port, address.Export, address.Socket, address.Tls));
    }

    [Theory]
    [InlineData("nbd+unix:///disk?socket=/run/a%20b", "/run/a b", "disk")]
    [InlineData("nbd+unix://?socket=s", "s", "")]
    public void An_export_is_at_a_socket(string text, string socket, string export)
    {
        NbdAddress address = Assert.IsType<NbdAddress>(DiskAddress.Parse(text));
        Assert.Equal((socket, export, true), (address.Socket, address.Export, address.IsRemote));
    }

    [Theory]
    [InlineData("nbds://example.com/", "example.com", true, null)]
    [InlineData("nbds://example.com/?tls-hostname=other&tls-certificates=/c", "other", true, "/c")]
    [InlineData("nbds+unix:///?socket=s&tls-verify-peer=0&tls-type=x509", "", false, null)]
    public void TLS_is_asked_for_by_the_scheme(string text, string name, bool verifies, string? folder) =>
        Assert.Equal(new NbdTls(name, verifies, folder), Assert.IsType<NbdAddress>(DiskAddress.Parse(text)).Tls);

    [Theory]
    [InlineData("rbd:a/b", "a", "", "b", null, null, null)]
    [InlineData("rbd:a/n/b@s", "a", "n", "b", "s", null, null)]
    [InlineData("rbd:a%20b/c%2Fd%40e?conf=/etc/x%20y&id=me", "a b", "", "c/d@e", null, "/etc/x y", "me")]
    public void An_image_is_in_a_pool(string text, string pool, string space, string image, string? snapshot, string? configuration,
        string? user)
    {
        RbdAddress address = Assert.IsType<RbdAddress>(DiskAddress.Parse(text));
        Assert.Equal((pool, space, image, snapshot, configuration, user),
            (address.Pool, address.Namespace, address.Image, address.Snapshot, address.Configuration, address.User));
    }

    [Theory]
    [InlineData("rbd:", "write rbd:POOL/IMAGE")]
    [InlineData("rbd:a", "write rbd:POOL/IMAGE")]
    [InlineData("rbd:a/", "write rbd:POOL/IMAGE")]
    [InlineData("rbd:/b", "write rbd:POOL/IMAGE")]
    [InlineData("rbd:a/b/c/d", "write rbd:POOL/IMAGE")]
    [InlineData("rbd:a/b@", "write rbd:POOL/IMAGE")]
    [InlineData("rbd:a/b@c@d", "write rbd:POOL/IMAGE")]
    [InlineData("rbd:a/b?pool=c", "unknown parameter 'pool', there are conf, id")]
    [InlineData("", "the disk has no path: name its image")]
    [InlineData("http://x/y", "there are file:PATH")]
    [InlineData("file:", "the path is missing")]
    [InlineData("file://host/a", "a file of another host cannot be opened")]
    [InlineData("file:a%00b", "leave out %00")]
    [InlineData("null:", "give a size such as 64M or 1G")]
    [InlineData("null:0", "give a size such as 64M or 1G")]
    [InlineData("null:-1", "give a size such as 64M or 1G")]
    [InlineData("null:65T", "of at most 64T")]
    [InlineData("null:99999999999999999999", "give a size such as 64M or 1G")]
    [InlineData("memory:1000", "no multiple of the 512-byte sector")]
    [InlineData("nbd:///x", "the host is missing")]
    [InlineData("nbd://", "the host is missing")]
    [InlineData("nbd://a:b/", "'b' is no port")]
    [InlineData("nbd://a:0/", "'0' is no port")]
    [InlineData("nbd://a:65536/", "is no port: give a number from 1 to 65535")]
    [InlineData("nbd://::1/x", "write an IPv6 address in brackets")]
    [InlineData("nbd://[::1/x", "the ']' of the IPv6 address is missing")]
    [InlineData("nbd://[::1]x/", "as [ADDRESS]:PORT")]
    [InlineData("nbd://a b/x", "'a b' is no name of a host")]
    [InlineData("nbd://user@host/x", "a user name is for TLS with pre-shared keys")]
    [InlineData("nbd://a/x#y", "write %23 for a '#'")]
    [InlineData("nbd://a/x?socket=s", "'socket' is for a Unix socket: write nbd+unix:///EXPORT?socket=PATH")]
    [InlineData("nbd://a/x?colour=red", "unknown parameter 'colour', there are socket, ")]
    [InlineData("nbd+unix:///x", "add ?socket=PATH")]
    [InlineData("nbd+unix:///x?socket=", "the value of 'socket' is missing")]
    [InlineData("nbd+unix:///x?socket=a&socket=b", "'socket' is given twice")]
    [InlineData("nbd+unix://host/x?socket=a", "a Unix socket has no host")]
    [InlineData("nbd://a/?tls-hostname=b", "'tls-hostname' is for TLS: write nbds://")]
    [InlineData("nbds://a/?tls-type=psk", "TLS with pre-shared keys is not in .NET")]
    [InlineData("nbds://a/?tls-type=anon", "use X.509 certificates")]
    [InlineData("nbds://a/?tls-type=x", "there is x509")]
    [InlineData("nbds://a/?tls-verify-peer=maybe", "give 0 or 1")]
    [InlineData("nbds+unix:///?socket=s", "add tls-hostname=NAME")]
    public void A_name_that_makes_no_sense_is_refused_in_a_sentence(string text, string sentence)
    {
        DeviceSpecException refused = Assert.Throws<DeviceSpecException>(() => DiskAddress.Parse(text));
        Assert.Contains(sentence, refused.Message, StringComparison.Ordinal);
        // The same in the command line and in dependency injection, before anything is opened.
        if (text.Length > 0) Assert.Contains(refused.Message, new DiskSpec { Path = text }.Failures("vda"));
    }

    [Theory]
    [InlineData("null:1G,cache=none", "leave out 'cache=none'")]
    [InlineData("null:1G,direct", "leave out 'cache=none'")]
    [InlineData("memory:1G,cache=dontcache", "leave out 'cache=dontcache'")]
    [InlineData("nbd://a/,engine=ring", "leave out its engine")]
    [InlineData("disk.img,reconnect=5", "leave out 'reconnect'")]
    [InlineData("null:1G,connections=2", "leave out 'connections'")]
    [InlineData("rbd:a/b,connections=2", "leave out 'connections'")]
    [InlineData("rbd:a/b@c", "is a snapshot, which cannot be written: attach it read-only ('ro')")]
    public void What_makes_no_sense_with_a_name_is_refused(string text, string sentence) =>
        Assert.Contains(sentence, Assert.Single(DiskSpec.Parse(text).Failures("vda")), StringComparison.Ordinal);

    [Theory]
    [InlineData("nbd://a/,reconnect=soon", "give a whole number from 0 to 86400")]
    [InlineData("nbd://a/,connections=0", "give a whole number from 1 to 16")]
    [InlineData("disk.img,cache=fast", "give writeback, none, writethrough or dontcache")]
    [InlineData("disk.img,direct,cache=writeback", "give one of them")]
    public void Options_that_make_no_sense_are_refused(string text, string sentence) =>
        Assert.Contains(sentence, Assert.Throws<DeviceSpecException>(() => DiskSpec.Parse(text)).Message, StringComparison.Ordinal);

    [Fact]
    public void Options_are_read()
    {
        DiskSpec disk = DiskSpec.Parse("nbd://a/b,,c,ro,reconnect=forever,connections=4,cache=writethrough");
        Assert.Equal(("nbd://a/b,c", true, Timeout.InfiniteTimeSpan, 4, DiskCache.WriteThrough),
            (disk.Path, disk.ReadOnly, disk.Reconnect!.Value, disk.Connections!.Value, disk.Cache));
        Assert.Equal((DiskCache.None, true), (DiskSpec.Parse("a,direct").Cache, DiskSpec.Parse("a,cache=none").Direct));
        Assert.Equal(TimeSpan.Zero, DiskSpec.Parse("nbd://a/,reconnect=0").Reconnect);
    }
}
