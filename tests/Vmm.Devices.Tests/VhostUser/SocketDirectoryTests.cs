using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>Where a socket stands decides who can put another one in its place.</summary>
public sealed class SocketDirectoryTests : IDisposable
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
    private const UnixFileMode Everyone = OwnerOnly | UnixFileMode.OtherRead | UnixFileMode.OtherWrite | UnixFileMode.OtherExecute;

    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-directory-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Theory]
    [InlineData(OwnerOnly)]
    [InlineData(Everyone | UnixFileMode.StickyBit)]
    public void A_directory_of_ones_own_and_a_sticky_one_are_taken(UnixFileMode mode)
    {
        File.SetUnixFileMode(_directory, mode);
        using UnixSocket socket = UnixEndpoint.ListenAnew(Socket, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Socket));
        socket.RemovePath();
    }

    [Fact]
    public void A_directory_that_everyone_may_write_to_is_refused_in_a_sentence()
    {
        File.SetUnixFileMode(_directory, Everyone);
        KernelException refused = Assert.Throws<KernelException>(() => UnixEndpoint.ListenAnew(Socket, UnixFileMode.UserRead));
        Assert.Contains($"everyone may write to '{_directory}'", refused.Message);
        Assert.Contains("chmod o-w", refused.Message);
        Assert.False(File.Exists(Socket));
    }

    private string Socket => Path.Combine(_directory, "s");
}
