using Vmm.Events.Native;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

public sealed class OwnedFdTests
{
    [Fact]
    public void Zero_is_a_valid_descriptor()
    {
        OwnedFd zero = new(0);
        Assert.False(zero.IsInvalid);
        Assert.Equal(0, zero.Number);
        // It is the test host's own standard input: not ours to close.
        zero.SetHandleAsInvalid();
    }

    [Fact]
    public void A_negative_number_is_no_descriptor() => Assert.Throws<ArgumentOutOfRangeException>(() => new OwnedFd(-1));

    [Fact]
    public void A_descriptor_is_closed_when_its_last_user_is_done_with_it()
    {
        using Pipe pipe = new();
        bool held = false;
        pipe.Read.DangerousAddRef(ref held);
        pipe.Read.Dispose();
        Assert.True(pipe.IsReadEndOpen);
        pipe.Read.DangerousRelease();
        Assert.False(pipe.IsReadEndOpen);
    }

    [Fact]
    public void A_duplicate_keeps_the_file_open()
    {
        using Pipe pipe = new();
        OwnedFd duplicate = pipe.Read.Duplicate();
        Assert.NotEqual(pipe.Read.Number, duplicate.Number);
        pipe.Read.Dispose();
        Assert.True(pipe.IsReadEndOpen);
        duplicate.Dispose();
        Assert.False(pipe.IsReadEndOpen);
    }

    [Fact]
    public void A_duplicate_is_not_inherited_by_the_programs_that_are_started()
    {
        const int getDescriptorFlags = 1, closeOnExec = 1;
        using EventFd fd = new();
        using EventFd copy = fd.Duplicate();
        using OwnedFd plain = ((OwnedFd)fd).Duplicate();
        Assert.Equal(closeOnExec, Libc.Fcntl(copy.Number, getDescriptorFlags, 0));
        Assert.Equal(closeOnExec, Libc.Fcntl(plain.Number, getDescriptorFlags, 0));
    }

    [Fact]
    public void A_disposed_descriptor_has_no_number()
    {
        EventFd fd = new();
        fd.Dispose();
        Assert.Throws<ObjectDisposedException>(() => fd.Number);
        Assert.Throws<ObjectDisposedException>(() => fd.Duplicate());
        Assert.Throws<ObjectDisposedException>(() => fd.Signal());
        Assert.Throws<ObjectDisposedException>(() => fd.TryRead(out _));
        Assert.Equal("EventFd(closed)", fd.ToString());
    }

    [Fact]
    public void An_error_of_the_kernel_is_a_sentence()
    {
        KernelException plain = new("cannot open 'disk.img'", Errno.AccessDenied);
        Assert.Equal("cannot open 'disk.img': Permission denied", plain.Message);
        Assert.Equal(Errno.AccessDenied, plain.Errno);
        Assert.Equal("epoll_ctl: Operation not permitted: use a ring", new KernelException("epoll_ctl", Errno.NotPermitted, "use a ring").Message);
    }
}
