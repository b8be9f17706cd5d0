using System.Diagnostics;
using Vmm.Events;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>In a directory where everyone may make a socket, another user may have been first.</summary>
[Collection(Alone.Name)]
public sealed class StrangerSocketTests : IDisposable
{
    private const uint Nobody = 65534;
    private const UnixFileMode Everyone = (UnixFileMode)0x1ff;
    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-stranger-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void A_socket_of_another_user_is_refused_where_everyone_may_make_one_and_trusted_elsewhere()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "becoming another user needs root");
        File.SetUnixFileMode(_directory, Everyone);
        string path = Path.Combine(_directory, "cable");
        using Process stranger = Process.Start("setpriv", ["--reuid", $"{Nobody}", "--clear-groups", "socat", $"UNIX-LISTEN:{path},fork,mode=777", "/dev/null"]);
        try
        {
            Assert.True(SpinWait.SpinUntil(() => Listens(path), TimeSpan.FromSeconds(30)), "socat does not listen");
            using (UnixSocket connected = UnixEndpoint.Connect(path))
            {
                Assert.True(connected.IsOfStranger(path, out uint user));
                Assert.Equal(Nobody, user);
            }
            NetworkException refused = Assert.Throws<NetworkException>(() => NetSocket.Open(path));
            Assert.Contains($"user {Nobody}'s", refused.Message, StringComparison.Ordinal);
            File.SetUnixFileMode(_directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            NetSocket.Open(path).Dispose();
        }
        finally
        {
            stranger.Kill();
            stranger.WaitForExit();
        }
    }

    [Fact]
    public void A_socket_of_ones_own_is_trusted_everywhere()
    {
        File.SetUnixFileMode(_directory, Everyone);
        string path = Path.Combine(_directory, "own");
        using UnixSocket listener = UnixEndpoint.Listen(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        using UnixSocket connected = UnixEndpoint.Connect(path);
        Assert.False(connected.IsOfStranger(path, out _));
    }

    /// <summary>Between bind and listen the path is there, and a connection refused.</summary>
    private static bool Listens(string path)
    {
        try
        {
            UnixEndpoint.Connect(path).Dispose();
            return true;
        }
        catch (KernelException)
        {
            return false;
        }
    }
}
