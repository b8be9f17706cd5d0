using System.Net;
using System.Net.Sockets;
using Vmm.Devices.Simulation;
using Vmm.Tests;

namespace Vmm.Devices.Tests;

/// <summary>NBD in TLS, with certificates that are right and that are not.</summary>
[Collection(Alone.Name)]
public sealed class NbdTlsTests : IDisposable
{
    private static readonly TimeSpan Long = TimeSpan.FromSeconds(60);

    private readonly string _folder = Directory.CreateTempSubdirectory("vmm-tls-").FullName;

    private readonly TlsAuthority _right;

    public NbdTlsTests()
    {
        _right = new TlsAuthority($"{_folder}/right");
        _ = new TlsAuthority($"{_folder}/other");
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void A_disk_in_TLS_passes_the_battery()
    {
        using ServerProcess server = Serve("--tls=require");
        foreach (string check in (string[])["reads what was written", "keeps what a model keeps, with many requests at once", "goes "
            + "on after resets with requests in flight"])
            new BackendBattery(() => NbdDisk.Open(Uri(server, "right"), readOnly: false, Long)).Run(check);
    }

    [Fact]
    public void A_server_that_goes_is_reached_again_in_TLS()
    {
        using ServerProcess server = Serve("--tls=require");
        using SimulatedGuest guest = NbdServerGoneTests.Guest(Uri(server, "right"), Long);
        NbdServerGoneTests.Ok(guest, guest.Queue(0).Read(0, 8));
        server.Kill();
        DriverRequest read = guest.Queue(0).Read(0, 8);
        guest.Kick(0).RunUntilIdle();
        server.Restart();
        guest.RunUntil(() => read.IsUsed);
        Assert.Equal(BlockStatus.Ok, read.Status());
    }

    [Fact]
    public void Over_TCP_the_certificate_is_checked_against_the_host()
    {
        int port = FreePort();
        using ServerProcess server = Serve("--tls=require", "--port", port.ToString(System.Globalization.CultureInfo.InvariantCulture),
            "--ipaddr", "127.0.0.1");
        using NbdDisk disk = NbdDisk.Open($"nbds://localhost:{port}/?tls-certificates={_folder}/right", readOnly: false, Long);
        Assert.Equal(1UL << 20, disk.CapacityBytes);
        Refused($"nbds://127.0.0.1:{port}/?tls-certificates={_folder}/right", "TLS was refused");
    }

    [Fact]
    public void A_client_shows_its_certificate_to_a_server_that_asks()
    {
        using ServerProcess server = Serve("--tls=require", "--tls-verify-peer");
        Refused(Uri(server, "right"), "asks for a certificate of its clients, and");
        // An authority that we do not trust comes first; what would come next is said too.
        Refused(Uri(server, "other"), "the server asks for one of ours, too: put client-cert.pem");
        _right.AddClient();
        NbdDisk.Open(Uri(server, "right"), readOnly: false, Long).Dispose();
    }

    [Fact]
    public void What_is_wrong_with_TLS_is_said()
    {
        using ServerProcess server = Serve("--tls=require");
        Refused(server.Uri, "the server asks for TLS: write nbds://");
        Refused(Uri(server, "other"), "TLS was refused");
        Refused(Uri(server, "right").Replace("localhost", "example.com", StringComparison.Ordinal), "TLS was refused");
        Refused(Uri(server, "nothing"), "ca-cert.pem");
        NbdDisk.Open($"nbds+unix:///?socket={server.Socket}&tls-verify-peer=0", readOnly: false, Long).Dispose();
        using ServerProcess plain = ServerProcess.Nbdkit("memory", "1M");
        Refused(Uri(plain, "right"), "the server has no TLS");
    }

    [Theory]
    [InlineData("")]
    [InlineData("&tls-verify-peer=0")]
    public void The_certificate_of_a_server_does_not_make_us_fetch_what_it_names(string options)
    {
        using TcpListener web = new(IPAddress.Loopback, 0);
        web.Start();
        _ = new TlsAuthority($"{_folder}/far", $"http://127.0.0.1:{((IPEndPoint)web.LocalEndpoint).Port}/ca.cer");
        using ServerProcess server = ServerProcess.Nbdkit("--tls=require", $"--tls-certificates={_folder}/far", "memory", "1M");
        if (options.Length == 0) Refused(Uri(server, "right"), "TLS was refused");
        else NbdDisk.Open(Uri(server, "right") + options, readOnly: false, Long).Dispose();
        Assert.False(web.Pending());
    }

    [Fact]
    public void The_version_is_1_3_where_the_server_has_it()
    {
        using ServerProcess server = Serve("--tls=require");
        using Wire wire = new(server.Socket);
        using (SimulatedGuest guest = NbdServerGoneTests.Guest(
            Uri(server, "right").Replace(server.Socket, wire.Path, StringComparison.Ordinal), Long))
            NbdServerGoneTests.Ok(guest, guest.Queue(0).Read(0, 8));
        // The extension supported_versions of the server's hello names the one version that was agreed: 0x0304 (RFC 8446 § 4.2.1).
        Assert.True(wire.Said.AsSpan().IndexOf((ReadOnlySpan<byte>)[0, 43, 0, 2, 3, 4]) > 0, "the server did not agree to TLS 1.3");
    }

    private ServerProcess Serve(params string[] options) => options.Contains("--port")
        ? ServerProcess.NbdkitAt(options, $"--tls-certificates={_folder}/right", "memory", "1M")
        : ServerProcess.Nbdkit([.. options, $"--tls-certificates={_folder}/right", "memory", "1M"]);

    private string Uri(ServerProcess server, string authority) =>
        $"nbds+unix:///?socket={server.Socket}&tls-hostname=localhost&tls-certificates={_folder}/{authority}";

    private static void Refused(string uri, params string[] oneOf)
    {
        string message = Assert.ThrowsAny<IOException>(() => NbdDisk.Open(uri, readOnly: false, Long).Dispose()).Message;
        Assert.True(oneOf.Any(sentence => message.Contains(sentence, StringComparison.Ordinal)), message);
    }

    private static int FreePort()
    {
        using Socket socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)socket.LocalEndPoint!).Port;
    }

    /// <summary>A wire to a server at a Unix socket, for one connection, which notes what the server says.</summary>
    private sealed class Wire : IDisposable
    {
        private readonly Socket _listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        private readonly MemoryStream _said = new();

        internal Wire(string server)
        {
            _listener.Bind(new UnixDomainSocketEndPoint(Path));
            _listener.Listen();
            new Thread(() => Carry(server)) { IsBackground = true }.Start();
        }

        internal string Path { get; } = ServerProcess.NewSocket();

        internal byte[] Said
        {
            get
            {
                lock (_said) return _said.ToArray();
            }
        }

        public void Dispose()
        {
            _listener.Dispose();
            File.Delete(Path);
        }

        private void Carry(string server)
        {
            using NetworkStream client = new(_listener.Accept(), ownsSocket: true);
            using Socket connection = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            connection.Connect(new UnixDomainSocketEndPoint(server));
            using NetworkStream there = new(connection);
            Task asks = Task.Run(() => Copy(client, there, null)), answers = Task.Run(() => Copy(there, client, _said));
            Task.WaitAny(asks, answers);
        }

        private static void Copy(NetworkStream from, NetworkStream to, MemoryStream? noted)
        {
            byte[] buffer = new byte[1 << 16];
            try
            {
                for (int read; (read = from.Read(buffer)) > 0; to.Write(buffer, 0, read))
                {
                    if (noted is null) continue;
                    lock (noted) noted.Write(buffer, 0, read);
                }
            }
            catch (IOException)
            {
                // One end hung up; the other is closed with the wire.
            }
        }
    }
}
